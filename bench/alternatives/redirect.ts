/** Module hooks: who imports the poll loop gets the one that counts. See `module.register` and `registerHooks`. */

const COUNTED = new URL('./counted-poll-loop.js', import.meta.url).href;
const UNCOUNTED = new URL('../../src/forward/poll-loop.js', import.meta.url).href;

interface Resolved {
  readonly url: string;
}

interface Context {
  readonly parentURL?: string;
}

export function redirect(resolved: Resolved, { parentURL }: Context): Resolved {
  if (resolved.url !== UNCOUNTED || parentURL === COUNTED) return resolved;
  return { ...resolved, url: COUNTED };
}

/** For `module.register`. */
export async function resolve(
  specifier: string,
  context: Context,
  next: (specifier: string, context: Context) => Promise<Resolved>,
): Promise<Resolved> {
  return redirect(await next(specifier, context), context);
}

/** For `module.registerHooks`, where there is one. */
export const SYNCHRONOUS = {
  resolve: (
    specifier: string,
    context: Context,
    next: (specifier: string, context: Context) => Resolved,
  ): Resolved => redirect(next(specifier, context), context),
};
