/**
 * A word of shared memory by which one thread wakes another's event loop: `signal` adds 1 and notifies, `onSignal` calls
 * back. Heard of in about 0.1 ms; costs nothing while nobody signals, and keeps no thread alive.
 */

interface WaitAsync {
  waitAsync(
    words: Int32Array,
    index: number,
    value: number,
  ): { readonly async: boolean; readonly value: Promise<string> | string };
}

/** ECMAScript 2024, in Node.js since 16; TypeScript's types for 2023 do not have it. */
const { waitAsync } = Atomics as unknown as WaitAsync;

/** Wakes whoever listens to the word. From any thread. */
export function signal(words: Int32Array, index: number): void {
  Atomics.add(words, index, 1);
  Atomics.notify(words, index);
}

/**
 * Calls `listener` on the event loop after each `signal`: once for several that come together, and now and then for none.
 * Returns a function that ends it.
 */
export function onSignal(words: Int32Array, index: number, listener: () => void): () => void {
  let isStopped = false;
  const listen = async (): Promise<void> => {
    let heard = Atomics.load(words, index);
    while (!isStopped) {
      const { async, value } = waitAsync(words, index, heard);
      if (async) await value;
      if (isStopped) return;
      heard = Atomics.load(words, index);
      listener();
    }
  };
  void listen();
  return () => {
    isStopped = true;
    // The one that waits would stay in the engine's list for good.
    Atomics.notify(words, index);
  };
}
