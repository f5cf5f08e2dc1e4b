/*
 * AF_XDP in C with the system calls that Barewire makes: copy mode, need_wakeup, batches, one call of sendto for each batch, the same
 * memory registered by both sockets. A library, so that the process around it is measured as every other subject is.
 *
 *     xdp_open(from, to)      to: NULL to receive only; 0, or -errno
 *     xdp_run(milliseconds, payload)    looks at each frame and sends it on; packets
 *     xdp_count(what)         0 received, 1 reordered, 2 wrong length, 3 sent, 4 system calls, 5 dropped by the kernel
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#define MAX_TX_SKB_BUDGET 9

#define BUFFERS 4096u
#define BUFFER_BYTES 2048u
#define RING 1024u
#define BATCH 32u
#define HEADERS_BYTES 42
#define MAGIC 0x42575652u

struct ring {
    uint32_t *producer, *consumer, *flags;
    void *entries;
    uint32_t mine;
};

struct xsk {
    int fd, map, program, link;
    struct ring rx, tx, fill, completion;
};

static uint8_t *memory;
static uint64_t stack[BUFFERS];
static uint32_t level;
static struct xsk in, out;
static int forwards;
static uint64_t counts[5];
static int64_t highest;

static long bpf(int command, union bpf_attr *attributes) {
    return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int map_ring(struct ring *ring, int fd, uint64_t page, struct xdp_ring_offset *at, size_t entry_bytes) {
    uint8_t *base = mmap(NULL, at->desc + RING * entry_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);
    if (base == MAP_FAILED) return -errno;
    ring->producer = (uint32_t *)(base + at->producer);
    ring->consumer = (uint32_t *)(base + at->consumer);
    ring->flags = (uint32_t *)(base + at->flags);
    ring->entries = base + at->desc;
    ring->mine = 0;
    return 0;
}

/* Every frame of queue 0 goes to the socket. */
static int attach(struct xsk *xsk, int interface) {
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = 1};
    if ((xsk->map = (int)bpf(BPF_MAP_CREATE, &map)) < 0) return -errno;
    struct bpf_insn code[] = {
        {.code = 0x61, .dst_reg = 2, .src_reg = 1, .off = 16},
        {.code = 0x18, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = xsk->map},
        {0},
        {.code = 0xb7, .dst_reg = 3, .imm = XDP_PASS},
        {.code = 0x85, .imm = BPF_FUNC_redirect_map},
        {.code = 0x95},
    };
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_XDP, .insn_cnt = sizeof code / sizeof code[0],
                           .insns = (uintptr_t)code, .license = (uintptr_t)"MIT", .expected_attach_type = BPF_XDP};
    if ((xsk->program = (int)bpf(BPF_PROG_LOAD, &load)) < 0) return -errno;
    union bpf_attr link = {.link_create = {.prog_fd = (uint32_t)xsk->program, .target_ifindex = (uint32_t)interface,
                                           .attach_type = BPF_XDP, .flags = XDP_FLAGS_DRV_MODE}};
    if ((xsk->link = (int)bpf(BPF_LINK_CREATE, &link)) < 0) return -errno;
    return 0;
}

static int open_one(struct xsk *xsk, const char *name) {
    int interface = (int)if_nametoindex(name);
    if (interface == 0) return -errno;
    int result = attach(xsk, interface);
    if (result < 0) return result;
    if ((xsk->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0)) < 0) return -errno;
    struct xdp_umem_reg umem = {.addr = (uintptr_t)memory, .len = BUFFERS * BUFFER_BYTES, .chunk_size = BUFFER_BYTES};
    uint32_t size = RING, budget = RING;
    if (setsockopt(xsk->fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem) < 0) return -errno;
    int options[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING};
    for (int i = 0; i < 4; i++)
        if (setsockopt(xsk->fd, SOL_XDP, options[i], &size, sizeof size) < 0) return -errno;
    setsockopt(xsk->fd, SOL_XDP, MAX_TX_SKB_BUDGET, &budget, sizeof budget);
    struct xdp_mmap_offsets at;
    socklen_t length = sizeof at;
    if (getsockopt(xsk->fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &length) < 0) return -errno;
    if ((result = map_ring(&xsk->rx, xsk->fd, XDP_PGOFF_RX_RING, &at.rx, sizeof(struct xdp_desc))) < 0 ||
        (result = map_ring(&xsk->tx, xsk->fd, XDP_PGOFF_TX_RING, &at.tx, sizeof(struct xdp_desc))) < 0 ||
        (result = map_ring(&xsk->fill, xsk->fd, XDP_UMEM_PGOFF_FILL_RING, &at.fr, 8)) < 0 ||
        (result = map_ring(&xsk->completion, xsk->fd, XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, 8)) < 0)
        return result;
    struct sockaddr_xdp address = {.sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP, .sxdp_ifindex = (uint32_t)interface};
    for (int tries = 0; (result = bind(xsk->fd, (struct sockaddr *)&address, sizeof address)) < 0 && errno == EBUSY && tries < 500; tries++)
        usleep(1000);
    if (result < 0) return -errno;
    uint64_t *fill = xsk->fill.entries;
    for (uint32_t i = 0; i < RING; i++) fill[i] = stack[--level];
    xsk->fill.mine = RING;
    __atomic_store_n(xsk->fill.producer, RING, __ATOMIC_RELEASE);
    uint32_t key = 0, value = (uint32_t)xsk->fd;
    union bpf_attr update = {.map_fd = (uint32_t)xsk->map, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
    return bpf(BPF_MAP_UPDATE_ELEM, &update) < 0 ? -errno : 0;
}

int xdp_open(const char *from, const char *to) {
    memory = mmap(NULL, BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return -errno;
    for (level = 0; level < BUFFERS; level++) stack[level] = (uint64_t)(BUFFERS - 1 - level) * BUFFER_BYTES;
    highest = -1;
    int result = open_one(&in, from);
    if (result < 0 || to == NULL) return result;
    forwards = 1;
    return open_one(&out, to);
}

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int accepts(const struct xdp_desc *frame, uint32_t payload) {
    const uint8_t *at = memory + frame->addr + HEADERS_BYTES;
    if (frame->len < HEADERS_BYTES + 8 || get32(at) != MAGIC) return 0;
    int64_t number = get32(at + 4);
    if (frame->len - HEADERS_BYTES != payload) counts[2]++;
    if (number > highest) highest = number;
    else counts[1]++;
    counts[0]++;
    return 1;
}

static void reclaim(void) {
    struct ring *ring = &out.completion;
    uint32_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
    uint64_t *entries = ring->entries;
    while (ring->mine != end) stack[level++] = entries[ring->mine++ & (RING - 1)] & ~(uint64_t)(BUFFER_BYTES - 1);
    __atomic_store_n(ring->consumer, ring->mine, __ATOMIC_RELEASE);
}

static void transmit(const struct xdp_desc *frames, uint32_t count) {
    struct ring *ring = &out.tx;
    struct xdp_desc *entries = ring->entries;
    reclaim();
    for (uint32_t i = 0; i < count; i++) {
        while (ring->mine - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE) >= RING) {
            counts[4]++;
            sendto(out.fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
            reclaim();
        }
        entries[ring->mine++ & (RING - 1)] = frames[i];
    }
    __atomic_store_n(ring->producer, ring->mine, __ATOMIC_SEQ_CST);
    counts[3] += count;
    while (*ring->flags & XDP_RING_NEED_WAKEUP && __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE) != ring->mine) {
        counts[4]++;
        if (sendto(out.fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN) break;
    }
}

static uint32_t poll_once(uint32_t payload) {
    struct ring *rx = &in.rx, *fill = &in.fill;
    struct xdp_desc *entries = rx->entries, batch[BATCH];
    uint64_t *free_entries = fill->entries;
    uint32_t ready = __atomic_load_n(rx->producer, __ATOMIC_ACQUIRE) - rx->mine, taken = 0, sent = 0;
    if (ready > BATCH) ready = BATCH;
    while (taken < ready && level > 0) {
        struct xdp_desc frame = entries[rx->mine++ & (RING - 1)];
        free_entries[fill->mine++ & (RING - 1)] = stack[--level];
        taken++;
        if (accepts(&frame, payload) && forwards) batch[sent++] = (struct xdp_desc){.addr = frame.addr, .len = frame.len};
        else stack[level++] = frame.addr & ~(uint64_t)(BUFFER_BYTES - 1);
    }
    __atomic_store_n(rx->consumer, rx->mine, __ATOMIC_RELEASE);
    __atomic_store_n(fill->producer, fill->mine, __ATOMIC_RELEASE);
    if (sent > 0) transmit(batch, sent);
    else if (forwards) reclaim();
    return taken;
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

double xdp_run(double milliseconds, uint32_t payload) {
    double end = now_ms() + milliseconds;
    double packets = 0;
    do {
        uint32_t taken = 0, some;
        for (int i = 0; i < 32 && (some = poll_once(payload)) > 0; i++) taken += some;
        packets += taken;
        if (taken == 0) {
            struct pollfd wait = {.fd = in.fd, .events = POLLIN};
            counts[4]++;
            poll(&wait, 1, 1);
        }
    } while (now_ms() < end);
    return packets;
}

double xdp_count(int what) {
    if (what < 5) return (double)counts[what];
    struct xdp_statistics statistics;
    socklen_t length = sizeof statistics;
    if (getsockopt(in.fd, SOL_XDP, XDP_STATISTICS, &statistics, &length) < 0) return -1;
    return (double)(statistics.rx_dropped + statistics.rx_ring_full);
}
