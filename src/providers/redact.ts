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

function formsOf(secrets: readonly (string | undefined)[]): readonly string[] {
  return (
    secrets
      .filter((secret) => secret !== undefined && secret.length >= SHORTEST_SECRET)
      .flatMap((secret) => (secret === undefined ? [] : [secret, Buffer.from(secret).toString('base64')]))
      // A secret that contains another one goes first, so that nothing of it is left over.
      .sort((a, b) => b.length - a.length)
  );
}
