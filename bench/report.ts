export const say = (line: string): void => void process.stdout.write(`${line}\n`);
export const round = (value: number): string => Math.round(value).toLocaleString('en');
