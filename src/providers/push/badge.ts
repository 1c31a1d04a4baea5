/**
 * A push's badge as the number at an app's icon. Anything else is the address of a picture, which only browsers show, and
 * is undefined here.
 */
export function badgeCount(badge: string | undefined): number | undefined {
  return badge !== undefined && /^\d{1,9}$/.test(badge) ? Number(badge) : undefined;
}
