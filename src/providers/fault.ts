/** What an error from a library or the system says about itself, without its stack and without anything it carries. */
export interface Fault {
  /** Such as ECONNREFUSED or UND_ERR_SOCKET; `timeout` where a time limit was over. */
  readonly code?: string;
  readonly detail: string;
}

export function faultOf(thrown: unknown): Fault {
  if (!(thrown instanceof Error)) return { detail: String(thrown) };
  // Node tries every address of a host and throws them together, with an empty message of its own.
  if (thrown instanceof AggregateError && thrown.errors.length > 0) {
    const detail = thrown.errors.map((one) => faultOf(one).detail).join('; ');
    return { ...codeOf(thrown), detail };
  }
  // Node's own words for it are those of somebody's abort, and its code is a number.
  if (thrown.name === 'TimeoutError') return { code: 'timeout', detail: 'the time for the call was over' };
  return { ...codeOf(thrown), detail: thrown.message };
}

function codeOf(error: Error): { readonly code?: string } {
  return 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
}
