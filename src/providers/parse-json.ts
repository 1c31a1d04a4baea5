/** What a text is as JSON; undefined where it is none: whoever reads it decides what that means. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own error would repeat some of the text.
    return undefined;
  }
}
