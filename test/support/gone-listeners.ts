/** Who wants to know that a made-up device is gone: `VfioDevice.onGone` of devices in tests. */
export class GoneListeners {
  readonly #listeners = new Set<(error: Error) => void>();

  /** Returns what takes the listener away again. */
  add(listener: (error: Error) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(error: Error): void {
    for (const listener of this.#listeners) listener(error);
  }

  /** The device is closed: nobody is told any more. */
  clear(): void {
    this.#listeners.clear();
  }
}
