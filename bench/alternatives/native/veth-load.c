/*
 * The far ends of two veth pairs: sends numbered frames into one interface as fast as it can, and checks the frames
 * that come out of the other. Told what to do by lines on standard input, answers in JSON lines.
 *
 *     veth-load SOURCE SINK
 *     start BYTES MAC    sends frames of BYTES (without FCS) to MAC, twelve hexadecimal digits, numbered from 0
 *     stop               stops sending: {"sent":N,"notQueued":N}
 *     report             what the sink saw since `start`, and zeroes it
 *
 * Frame: Ethernet, IPv4, UDP to port 9 without checksum, then a magic word and the number, both big-endian, then zeros.
 * The sink looks at magic word, number and length: a forwarder may rewrite the addresses.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define MAX_FRAME_BYTES 1514
#define MAGIC 0x42575652
#define MAGIC_AT 42
#define NUMBER_AT 46
/* The sink's kernel copies no more of a frame than this. */
#define SNAP_BYTES 64
#define SLOT_BYTES 256
#define BLOCK_BYTES (1 << 16)
#define BLOCKS 64
#define SLOTS (BLOCKS * (BLOCK_BYTES / SLOT_BYTES))

struct source {
    int fd;
    uint8_t frame[BATCH][MAX_FRAME_BYTES];
    struct iovec vector[BATCH];
    struct mmsghdr message[BATCH];
    uint64_t sent;
    uint64_t not_queued;
    int running;
};

struct sink {
    int fd;
    uint8_t *ring;
    uint32_t slot;
    uint32_t frame_bytes;
    uint64_t received, reordered, wrong_length;
    int64_t highest;
};

static void check(int result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "veth-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int packet_socket(const char *name, uint16_t protocol) {
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    check(fd, "socket");
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol)};
    address.sll_ifindex = (int)if_nametoindex(name);
    if (address.sll_ifindex == 0) check(-1, name);
    check(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
    return fd;
}

static void put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void make_frame(uint8_t *frame, uint32_t bytes, const uint8_t *mac) {
    static const uint8_t source_mac[6] = {2, 0, 0, 0, 0, 1};
    static const uint8_t source_ip[4] = {10, 71, 0, 1}, target_ip[4] = {10, 71, 0, 2};
    memset(frame, 0, MAX_FRAME_BYTES);
    memcpy(frame, mac, 6);
    memcpy(frame + 6, source_mac, 6);
    put16(frame + 12, ETHERTYPE_IP);
    uint8_t *ip = frame + 14;
    ip[0] = 0x45;
    put16(ip + 2, bytes - 14);
    ip[8] = 64;
    ip[9] = IPPROTO_UDP;
    memcpy(ip + 12, source_ip, 4);
    memcpy(ip + 16, target_ip, 4);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) sum += (uint32_t)ip[i] << 8 | ip[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
    put16(frame + 34, 1024);
    put16(frame + 36, 9);
    put16(frame + 38, bytes - 34);
    put32(frame + MAGIC_AT, MAGIC);
}

static void source_open(struct source *source, const char *name) {
    source->fd = packet_socket(name, 0);
    const int on = 1;
    check(setsockopt(source->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)), "PACKET_QDISC_BYPASS");
}

static void source_start(struct source *source, uint32_t bytes, const uint8_t *mac) {
    for (int i = 0; i < BATCH; i++) {
        make_frame(source->frame[i], bytes, mac);
        source->vector[i] = (struct iovec){source->frame[i], bytes};
        memset(&source->message[i], 0, sizeof(source->message[i]));
        source->message[i].msg_hdr.msg_iov = &source->vector[i];
        source->message[i].msg_hdr.msg_iovlen = 1;
    }
    source->sent = 0;
    source->not_queued = 0;
    source->running = 1;
}

static void source_burst(struct source *source) {
    for (int i = 0; i < BATCH; i++) put32(source->frame[i] + NUMBER_AT, (uint32_t)(source->sent + (uint64_t)i));
    const int sent = sendmmsg(source->fd, source->message, BATCH, 0);
    if (sent > 0) {
        source->sent += (uint64_t)sent;
        return;
    }
    /* The interface or its backlog was full: the first frame is gone, or was never sent. Either way it has no number. */
    if (errno != ENOBUFS && errno != EAGAIN) check(-1, "sendmmsg");
    source->not_queued++;
}

static void sink_open(struct sink *sink, const char *name) {
    sink->fd = packet_socket(name, ETHERTYPE_IP);
    const int version = TPACKET_V2;
    check(setsockopt(sink->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)), "PACKET_VERSION");
    struct sock_filter snap = BPF_STMT(BPF_RET | BPF_K, SNAP_BYTES);
    const struct sock_fprog program = {1, &snap};
    check(setsockopt(sink->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), "SO_ATTACH_FILTER");
    const struct tpacket_req request = {BLOCK_BYTES, BLOCKS, SLOT_BYTES, SLOTS};
    check(setsockopt(sink->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)), "PACKET_RX_RING");
    sink->ring = mmap(NULL, (size_t)BLOCK_BYTES * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, sink->fd, 0);
    if (sink->ring == MAP_FAILED) check(-1, "mmap");
    sink->highest = -1;
}

/* Frames the sink's ring had no room for since the last call. */
static uint32_t sink_dropped(struct sink *sink) {
    struct tpacket_stats stats = {0, 0};
    socklen_t length = sizeof(stats);
    check(getsockopt(sink->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length), "PACKET_STATISTICS");
    return stats.tp_drops;
}

static void sink_drain(struct sink *sink) {
    for (;;) {
        struct tpacket2_hdr *header = (struct tpacket2_hdr *)(sink->ring + (size_t)sink->slot * SLOT_BYTES);
        if (!(__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return;
        const uint8_t *frame = (uint8_t *)header + header->tp_mac;
        if (header->tp_snaplen >= NUMBER_AT + 4 && get32(frame + MAGIC_AT) == MAGIC) {
            const int64_t number = get32(frame + NUMBER_AT);
            sink->received++;
            if (header->tp_len != sink->frame_bytes) sink->wrong_length++;
            if (number > sink->highest) sink->highest = number;
            else sink->reordered++;
        }
        __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        sink->slot = (sink->slot + 1) % SLOTS;
    }
}

static void sink_zero(struct sink *sink) {
    sink->received = sink->reordered = sink->wrong_length = 0;
    sink->highest = -1;
    sink_dropped(sink);
}

static void command(char *line, struct source *source, struct sink *sink) {
    uint32_t bytes;
    uint8_t mac[6];
    if (sscanf(line, "start %u %2hhx%2hhx%2hhx%2hhx%2hhx%2hhx", &bytes, &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5]) == 7 &&
        bytes >= 60 && bytes <= MAX_FRAME_BYTES) {
        sink->frame_bytes = bytes;
        sink_drain(sink);
        sink_zero(sink);
        source_start(source, bytes, mac);
    } else if (strncmp(line, "stop", 4) == 0) {
        source->running = 0;
        printf("{\"sent\":%llu,\"notQueued\":%llu}\n", (unsigned long long)source->sent,
               (unsigned long long)source->not_queued);
    } else if (strncmp(line, "report", 6) == 0) {
        sink_drain(sink);
        printf("{\"received\":%llu,\"dropped\":%u,\"reordered\":%llu,\"wrongLength\":%llu}\n",
               (unsigned long long)sink->received, sink_dropped(sink), (unsigned long long)sink->reordered,
               (unsigned long long)sink->wrong_length);
        sink_zero(sink);
    } else {
        fprintf(stderr, "veth-load: bad command: %s", line);
        exit(1);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: veth-load SOURCE SINK\n");
        return 2;
    }
    static struct source source;
    static struct sink sink;
    source_open(&source, argv[1]);
    sink_open(&sink, argv[2]);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    /* Lines are short and each waits for its effect or answer, so one read is one line. */
    char line[256];
    for (;;) {
        struct pollfd input = {.fd = 0, .events = POLLIN};
        if (poll(&input, 1, source.running ? 0 : 1) > 0) {
            const ssize_t got = read(0, line, sizeof(line) - 1);
            if (got <= 0) return 0;
            line[got] = 0;
            command(line, &source, &sink);
        }
        for (int i = 0; i < 4 && source.running; i++) {
            source_burst(&source);
            sink_drain(&sink);
        }
        sink_drain(&sink);
    }
}
