/**
 * Suites of uvu's that lose no error. uvu forgets what a hook throws: after one of `before` the suite's tests do not run, and the run
 * succeeds all the same; one of `after.each` hides which test failed. Here each test fails with it.
 */
import { type Callback, type Test, suite as uvuSuite } from 'uvu';

/** As uvu's `suite`. */
export function suite<T = Record<string, unknown>>(name: string, state?: T): Test<T> {
  const tests = uvuSuite<T>(name, state);
  const beforeEach: Callback<T>[] = [];
  const afterEach: Callback<T>[] = [];
  let broken: { readonly error: unknown } | undefined;

  const before = (hook: Callback<T>): void =>
    tests.before(async (context) => {
      if (!broken) broken = await errorOf(async () => hook(context));
    });
  const guarded =
    (handler: Callback<T>): Callback<T> =>
    async (context) => {
      let problem =
        broken ??
        (await errorOf(async () => {
          for (const hook of beforeEach) await hook(context);
          await handler(context);
        }));
      for (const hook of afterEach) {
        const error = await errorOf(async () => hook(context));
        problem ??= error;
      }
      if (problem) throw problem.error;
    };
  const add = (test: string, handler: Callback<T>): void => tests(test, guarded(handler));
  return Object.assign(add, {
    only: (test: string, handler: Callback<T>) => tests.only(test, guarded(handler)),
    skip: tests.skip,
    before: Object.assign(before, { each: (hook: Callback<T>) => void beforeEach.push(hook) }),
    after: Object.assign((hook: Callback<T>) => tests.after(hook), {
      each: (hook: Callback<T>) => void afterEach.push(hook),
    }),
    run: tests.run,
  });
}

async function errorOf(act: () => Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await act();
    return undefined;
  } catch (error) {
    return { error };
  }
}
