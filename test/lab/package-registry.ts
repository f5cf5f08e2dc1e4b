/**
 * A package registry for a machine without a network: serves packages out of a node_modules folder over HTTP, each in
 * the one version that is there. Enough of the protocol for `npm install`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface PackageRegistry {
  /** `http://127.0.0.1:PORT/` */
  readonly url: string;
  /** Packages whose contents were fetched. */
  readonly fetched: ReadonlySet<string>;
  close(): void;
}

export async function servePackages(nodeModules: string): Promise<PackageRegistry> {
  const fetched = new Set<string>();
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1);
    const isTarball = path.endsWith('.tgz');
    const name = path.replace(/\/-\.tgz$/, '');
    const folder = join(nodeModules, name);
    // Optional packages for other platforms are not there.
    if (!existsSync(join(folder, 'package.json'))) response.writeHead(404).end('{}');
    else if (isTarball) {
      fetched.add(name);
      response.end(tarball(folder));
    } else
      response.setHeader('content-type', 'application/json').end(packument(folder, `${url}${name}/-.tgz`));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    url,
    fetched,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** What a registry tells of a package: its versions, and where to fetch them. */
function packument(folder: string, tarballUrl: string): string {
  const manifest: { name: string; version: string } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  );
  const { name, version } = manifest;
  return JSON.stringify({
    name,
    'dist-tags': { latest: version },
    versions: { [version]: { ...manifest, dist: { tarball: tarballUrl } } },
  });
}

function tarball(folder: string): Buffer {
  const { status, stdout, stderr } = spawnSync(
    'tar',
    ['-C', folder, '--exclude=./node_modules', '--transform=s,^\\.,package,', '-czf', '-', '.'],
    { maxBuffer: 2 ** 28 },
  );
  if (status !== 0) throw new Error(`tar ${folder}: ${stderr}`);
  return stdout;
}
