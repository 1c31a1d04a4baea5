/** What is wrong with one file; `file` is its path inside the folder of the templates. */
export interface TemplateFault {
  readonly file: string;
  readonly problem: string;
}

/** The text of one file is not a template, or one that must not run. */
export class SourceError extends Error {
  override readonly name = 'SourceError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('; '));
    this.problems = problems;
  }
}

/** The folder of the templates cannot be used; says everything that is wrong with it at once. */
export class TemplatesError extends Error {
  override readonly name = 'TemplatesError';
  readonly faults: readonly TemplateFault[];

  constructor(faults: readonly TemplateFault[]) {
    super(`the templates have ${faults.length} faults:\n${faults.map((f) => `${f.file}: ${f.problem}`).join('\n')}`);
    this.faults = faults;
  }
}

/** Collects what is wrong. */
export class Faults {
  readonly list: TemplateFault[] = [];

  add(file: string, problem: string): void {
    this.list.push({ file, problem });
  }

  /** What `make` answers, or undefined and a fault when it throws. */
  attempt<T>(file: string, make: () => T): T | undefined {
    try {
      return make();
    } catch (thrown) {
      const message = thrown instanceof Error ? thrown.message : 'cannot be read';
      for (const problem of thrown instanceof SourceError ? thrown.problems : [message]) this.add(file, problem);
      return undefined;
    }
  }
}
