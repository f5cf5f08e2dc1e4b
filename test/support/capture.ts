/** Runs `action` and returns what it wrote to stdout or stderr, by lines. */
export async function captureLines(
  action: () => unknown,
  stream: NodeJS.WriteStream = process.stdout,
): Promise<string[]> {
  const real = stream.write;
  let text = '';
  stream.write = ((chunk: string | Uint8Array) => {
    text += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    return true;
  }) as typeof stream.write;
  try {
    await action();
  } finally {
    stream.write = real;
  }
  return text.split('\n').slice(0, -1);
}
