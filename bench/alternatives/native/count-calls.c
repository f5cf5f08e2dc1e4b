/*
 * Counts the system calls that Node.js makes for a UDP socket, by standing in front of the C library's functions
 * (LD_PRELOAD). Each thread counts its own; `counted_calls` tells the calling thread's number.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static __thread uint64_t calls;

double counted_calls(void) { return (double)calls; }

/* Defines a function of the C library that counts and calls the next one of its name. */
#define COUNTED(type, name, parameters, arguments)                      \
    type name parameters {                                              \
        static type(*next) parameters;                                  \
        if (!next) next = (type(*) parameters)dlsym(RTLD_NEXT, #name);  \
        calls++;                                                        \
        return next arguments;                                          \
    }

COUNTED(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
COUNTED(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
COUNTED(int, recvmmsg, (int fd, struct mmsghdr *list, unsigned count, int flags, struct timespec *timeout),
        (fd, list, count, flags, timeout))
COUNTED(int, sendmmsg, (int fd, struct mmsghdr *list, unsigned count, int flags), (fd, list, count, flags))
COUNTED(int, epoll_wait, (int fd, struct epoll_event *events, int most, int timeout), (fd, events, most, timeout))
COUNTED(int, epoll_pwait, (int fd, struct epoll_event *events, int most, int timeout, const sigset_t *signals),
        (fd, events, most, timeout, signals))
COUNTED(int, epoll_ctl, (int fd, int operation, int target, struct epoll_event *event),
        (fd, operation, target, event))
