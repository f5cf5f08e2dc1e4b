/**
 * What a user is told of a peer that is no vfio-user server, refuses, or has gone: the same errors with a hint each. Anything
 * can listen at a path that a user gives: a web server, a shell, an agent, or nothing that ever says a word.
 */
import { errnoText, isErrno, NicError } from '../../errors.js';
import { FREE_MS, type Patience, type PatienceLimit } from './patience.js';

const WRONG_PEER_HINT =
  'Something else than a vfio-user server may listen there. Give the path that `barewire emulate` prints, or that of another vfio-user server.';
const SILENT_HINT =
  'It is stopped, overloaded, or serves somebody else; or it is no vfio-user server. One in this very thread cannot answer while this one waits.';
const HUNG_UP_HINT =
  'Servers take one client at a time: look for another process that uses the device, and try again. What is no vfio-user server hangs up as well.';
const GONE_HINT =
  'The server has ended or closed the connection; what it printed may say why. Open the device again.';
const REFUSED_HINT = 'What the server printed may say why.';

/** The error of a socket that cannot be connected. */
export function explainConnect(error: unknown, path: string): unknown {
  if (!(error instanceof NicError) || error.errno === undefined) return error;
  const details = { syscall: error.syscall, errno: error.errno, path, cause: error };
  const message = `Cannot connect to the vfio-user server at ${path}`;
  if (isErrno(error, 'ENOENT')) {
    return new NicError('NO_SUCH_DEVICE', message, {
      ...details,
      hint: 'Nothing is there. Start the server first, for example `barewire emulate`, and check the path.',
    });
  }
  if (isErrno(error, 'ECONNREFUSED')) {
    return new NicError('PEER_GONE', message, {
      ...details,
      hint: 'Nobody listens: it is no socket, or one left over from a server that has ended. Serve the port again at this path.',
    });
  }
  if (isErrno(error, 'EAGAIN')) {
    return new NicError('PEER_GONE', message, {
      ...details,
      hint: 'The server does not accept connections: it is stopped or hangs.',
    });
  }
  if (isErrno(error, 'EACCES')) {
    return new NicError('NO_PERMISSION', message, {
      ...details,
      hint: 'Run as the user who started the server, or give access to the socket file.',
    });
  }
  if (isErrno(error, 'EPROTOTYPE')) {
    return new NicError('PEER_GONE', message, { ...details, hint: WRONG_PEER_HINT });
  }
  return new NicError('PEER_GONE', message, details);
}

/** The error of a first conversation, in which a peer shows that it is a vfio-user server, or does not. */
export function explainNegotiation(error: unknown, path: string): unknown {
  if (!(error instanceof NicError)) return error;
  if (error.code === 'PROTOCOL') return withHint(error, WRONG_PEER_HINT);
  if (error.code === 'VFIO') return withHint(error, REFUSED_HINT);
  if (error.code !== 'PEER_GONE' || error.hint !== undefined) return error;
  return new NicError('PEER_GONE', `The vfio-user server at ${path} hung up on a new client`, {
    path,
    errno: error.errno,
    hint: HUNG_UP_HINT,
    cause: error,
  });
}

/** The error that ended a connection which had worked. */
export function explainLoss(error: NicError): NicError {
  return error.code === 'PEER_GONE' ? withHint(error, GONE_HINT) : error;
}

/** A server that answers nothing, or takes its time again and again. @param limit what it has used up */
export function silent(what: string, limit: PatienceLimit, patience: Patience, path: string): NicError {
  const { answerMs, capacityMs, turnMs } = patience;
  const why = {
    answer: `within ${answerMs} ms`,
    account: `in what was left of the ${capacityMs} ms that slow answers may take in all (each more than ${FREE_MS} ms)`,
    turn: `in what was left of the ${turnMs} ms for which its answers may hold this process up without a break`,
  };
  return new NicError('PEER_GONE', `The vfio-user server at ${path} ${what} ${why[limit]}`, {
    path,
    hint: SILENT_HINT,
  });
}

function withHint(error: NicError, hint: string): NicError {
  if (error.hint !== undefined) return error;
  const { code, errno, path, syscall } = error;
  // A message with an errno ends in its name, and gets that again.
  const message = errno === undefined ? error.message : error.message.replace(`: ${errnoText(errno)}`, '');
  return new NicError(code, message, { errno, path, syscall, hint, cause: error });
}
