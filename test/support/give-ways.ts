/**
 * How often this thread has slept to give the CPU away (src/one-cpu.ts) while something ran. The kernel's count of voluntary context
 * switches would not do: a thread whose CPU is taken away just before it sleeps is not in it, and other threads of the process are.
 */
export async function giveWays(run: () => Promise<unknown>): Promise<number> {
  const { wait } = Atomics;
  let times = 0;
  Atomics.wait = ((...args: Parameters<typeof wait>) => {
    times++;
    return wait(...args);
  }) as typeof wait;
  try {
    await run();
  } finally {
    Atomics.wait = wait;
  }
  return times;
}
