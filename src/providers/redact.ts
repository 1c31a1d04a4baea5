/**
 * Takes credentials out of what a service answered: some servers repeat the request, credentials and all, in an error.
 */

/** Anything shorter would also be found inside ordinary words and shred the text. */
const SHORTEST_SECRET = 4;

/** A function that blanks every one of the secrets, as it is and in base64. */
export function redactor(secrets: readonly (string | undefined)[]): (text: string) => string {
  let forms: readonly string[] | undefined;
  return (text) => {
    // Most answers say nothing, and many redactors serve one call.
    if (text === '') return text;
    forms ??= formsOf(secrets);
    return forms.reduce((left, form) => left.replaceAll(form, '[redacted]'), text);
  };
}

/** Characters from which on a part of a URL may be what nobody can guess. */
const SHORTEST_CAPABILITY = 16;

/** What of a URL may be a secret, where whoever has it may call: all of it, the long parts of its path, its parameters. */
export function capabilitiesOf({ href, pathname, search, searchParams }: URL): readonly string[] {
  const parts = [`${pathname}${search}`, ...pathname.split('/')].filter((part) => part.length >= SHORTEST_CAPABILITY);
  // A service may repeat a value as it stands in the URL, or read.
  const values = search.split('&').map((parameter) => parameter.slice(parameter.indexOf('=') + 1));
  return [href, ...parts, ...values, ...searchParams.values()];
}

function formsOf(secrets: readonly (string | undefined)[]): readonly string[] {
  return (
    secrets
      .filter((secret) => secret !== undefined && secret.length >= SHORTEST_SECRET)
      .flatMap((secret) => (secret === undefined ? [] : [secret, Buffer.from(secret).toString('base64')]))
      // A secret that contains another one goes first, so that nothing of it is left over.
      .sort((a, b) => b.length - a.length)
  );
}
