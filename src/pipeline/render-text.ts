/** Plain text from HTML, for the mail's text part. */
import { compile } from 'html-to-text';

/** Nothing else runs in the process meanwhile: this size takes 0.2 s. Gmail cuts a mail off at 102 KB. */
const MAX_HTML_CHARS = 131_072;
/** Elements open at the same time: text is wrapped anew at each level, the stack grows, and so does the parser's work. */
const MAX_OPEN_ELEMENTS = 100;
const MAX_TEXT_CHARS = 1_048_576;

/** Elements that have no end tag (HTML Living Standard, 13.1.2). */
const VOID_ELEMENTS = new Set('area base br col embed hr img input link meta param source track wbr'.split(' '));
const TAG = /<(\/?)([a-z][^\s/>]*)/gi;

const convert = compile({
  wordwrap: 80,
  selectors: [
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true } },
    { selector: 'img', format: 'skip' },
    // One element of four characters must not become a line of eighty.
    { selector: 'hr', options: { length: 8 } },
  ],
});

/** An upper bound: end tags that HTML lets one leave out are not known here. */
function isTooDeep(html: string): boolean {
  const open = new Map<string, number>();
  let total = 0;
  for (const [, slash, tag = ''] of html.matchAll(TAG)) {
    const name = tag.toLowerCase();
    if (VOID_ELEMENTS.has(name)) continue;
    const count = open.get(name) ?? 0;
    // An end tag without its start changes nothing; counting it would hide a depth that is there.
    const change = slash === '' ? 1 : -Math.min(count, 1);
    open.set(name, count + change);
    total += change;
    if (total > MAX_OPEN_ELEMENTS) return true;
  }
  return false;
}

/** The text that the HTML shows; undefined when it shows none, or is too large or too deep to be converted in time. */
export function textFromHtml(html: string): string | undefined {
  if (html.length > MAX_HTML_CHARS || isTooDeep(html)) return undefined;
  const text = convert(html);
  return text === '' || text.length > MAX_TEXT_CHARS ? undefined : text;
}
