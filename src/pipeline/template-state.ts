import { RenderError } from './render-error.ts';
import type { Formats } from './template-formats.ts';

/** Values, helper calls and loop rounds in the rendering of one notification: some 50 ms at the most. */
export const MAX_STEPS = 100_000;
/** Characters that one part may come to. */
export const MAX_PART_CHARS = 1_048_576;

/** In what language and time zone the values of a rendering are written. */
export interface Place {
  /** The recipient's: numbers, money and dates. */
  readonly locale: string;
  /** The template's: rules that go with its words, such as plurals. */
  readonly templateLocale: string;
  readonly timeZone: string;
}

/** What the helpers know of the rendering they run in, and how much of its budget is used. */
export class RenderState {
  readonly formats: Formats;
  readonly place: Place;
  #steps = 0;
  #chars = 0;

  constructor(formats: Formats, place: Place) {
    this.formats = formats;
    this.place = place;
  }

  /** The budget of characters is per part, that of steps for all parts together. */
  beginPart(): void {
    this.#chars = 0;
  }

  step(): void {
    this.#steps += 1;
    if (this.#steps > MAX_STEPS) throw new RenderError(`takes more than ${MAX_STEPS} steps`);
  }

  /** Counts characters that were read or written, before escaping. */
  charge(chars: number): void {
    this.#chars += chars;
    this.checkLength(this.#chars);
  }

  checkLength(chars: number): void {
    if (chars > MAX_PART_CHARS) throw new RenderError(`comes to more than ${MAX_PART_CHARS} characters`);
  }
}
