/** Watch tokens: opaque to the caller, they name their feed and the position after which to go on. */
export interface FeedPosition {
  readonly feed: string;
  readonly seq: number;
}

export function encodeToken({ feed, seq }: FeedPosition): string {
  return Buffer.from(`${seq}.${feed}`).toString('base64url');
}

/** Undefined for what `encodeToken` cannot have made. */
export function decodeToken(token: string): FeedPosition | undefined {
  const match = /^(\d{1,15})\.(.+)$/s.exec(Buffer.from(token, 'base64url').toString());
  const [, seq, feed] = match ?? [];
  return seq !== undefined && feed !== undefined ? { feed, seq: Number(seq) } : undefined;
}
