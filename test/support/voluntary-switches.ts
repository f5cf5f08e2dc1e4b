/** How often this process has given up the CPU by itself: it slept or waited in a system call. */
export function voluntarySwitches(): number {
  return process.resourceUsage().voluntaryContextSwitches;
}
