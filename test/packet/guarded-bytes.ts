/** Bytes that fail the test when a place outside of a range is read or written. */

/**
 * A stand-in for `bytes` that gives access to the places from `start` to before `end` only.
 *
 * @returns something that behaves as a Uint8Array for indexing, `length` and `instanceof`
 */
export function guarded(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const check = (key: string | symbol): void => {
    if (typeof key === 'symbol' || !/^-?[0-9.]+$|^NaN$|^undefined$/.test(key)) return;
    const index = Number(key);
    if (!(index >= start && index < end))
      throw new RangeError(`place ${key} is outside of ${start} to ${end}`);
  };
  return new Proxy(bytes, {
    get(target, key) {
      check(key);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set(target, key, value) {
      check(key);
      return Reflect.set(target, key, value, target);
    },
  });
}
