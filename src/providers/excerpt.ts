/** Characters of it that are kept. */
const MAX_CHARS = 500;

/** What is kept of what a service says: readable text only, as an answer may be anything, a picture included. */
export function excerpt(text: string): string {
  return text
    .replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, MAX_CHARS);
}
