/**
 * Child process that serves the test device at the path of its first argument; `poll`: as a busy host does. The third
 * argument has options of the server as JSON.
 */
import { VfioUserServer } from '../../../../src/vfio/user/server.js';
import { TestDevice } from './test-device.js';

const [path = '', mode, options = '{}'] = process.argv.slice(2);
const server = VfioUserServer.listen(path, new TestDevice(), {
  ...JSON.parse(options),
  onError: (error) => process.send?.({ error: String(error) }),
  onClient: (attached) => process.send?.({ attached }),
});

// a parent that was killed leaves no host behind
process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  if (message === 'close') {
    server.close();
    process.disconnect();
  }
});
if (mode === 'poll') {
  const burst = (): void => {
    const until = performance.now() + 20;
    while (performance.now() < until) server.poll();
    setImmediate(burst);
  };
  burst();
}
process.send?.('ready');
