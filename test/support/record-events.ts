import { createEvents } from '../../src/events.ts';
import type { Events } from '../../src/events.ts';

export interface RecordedLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The real events on a log that keeps its lines. */
export function recordEvents(now?: () => number): { readonly events: Events; readonly lines: readonly RecordedLine[] } {
  const lines: RecordedLine[] = [];
  const at = (level: RecordedLine['level']) => (fields: Readonly<Record<string, unknown>>, message: string) => {
    lines.push({ level, message, fields });
  };
  const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  return { events: createEvents(log, now), lines };
}
