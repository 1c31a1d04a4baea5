import { ConfigError } from '../config.ts';
import { CarillonError } from '../errors.ts';
import { TemplatesError } from '../pipeline/template-faults.ts';
import { ListenError } from '../server.ts';

/** What an operator can act on, one line each; anything else is a fault of the program and shows where. */
export function faultsOf(thrown: unknown): readonly string[] {
  if (thrown instanceof ConfigError) return thrown.faults.map((fault) => `carillon: ${fault}`);
  if (thrown instanceof TemplatesError)
    return thrown.faults.map(({ file, problem }) => `carillon: ${file}: ${problem}`);
  if (thrown instanceof ListenError) return [`carillon: ${thrown.message}`];
  if (thrown instanceof CarillonError) return [`carillon: ${thrown.message}${causeOf(thrown)}`];
  return [`carillon: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`];
}

const causeOf = ({ cause }: CarillonError): string => (cause instanceof Error ? ` (${cause.message})` : '');
