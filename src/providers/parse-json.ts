/** What a text is as JSON; undefined where it is none: whoever reads it decides what that means. */
export function parseJson(text: string): unknown {
  // What many services answer to say yes; an error of the parser would cost more than the rest of the call.
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own error would repeat some of the text.
    return undefined;
  }
}
