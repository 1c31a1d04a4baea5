export interface RenderErrorExtras {
  /** The template file at fault. */
  readonly source?: string;
  /** For the log. */
  readonly cause?: unknown;
}

/**
 * Content could not be made from a template and its data. Trying again with the same two fails again.
 * The message names files, lines and variables but quotes no value, so that it can be stored and shown.
 */
export class RenderError extends Error {
  override readonly name = 'RenderError';
  readonly source: string | undefined;
  /** The message without its source. */
  readonly problem: string;

  constructor(problem: string, extras: RenderErrorExtras = {}) {
    super(
      extras.source === undefined ? problem : `${extras.source}: ${problem}`,
      extras.cause === undefined ? undefined : { cause: extras.cause },
    );
    this.source = extras.source;
    this.problem = problem;
  }

  /** The same fault with its file named; what is not a RenderError becomes one and keeps its facts in `cause`. */
  static in(source: string, thrown: unknown): RenderError {
    if (thrown instanceof RenderError) {
      return thrown.source === undefined ? new RenderError(thrown.problem, { source, cause: thrown.cause }) : thrown;
    }
    return new RenderError('cannot be rendered', { source, cause: thrown });
  }
}
