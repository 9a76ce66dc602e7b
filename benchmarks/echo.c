/* WebSocket echo, one message in flight on each connection. `echo PORT HANDSHAKE MESSAGES SIZE text|binary CONNECTIONS SECONDS`
 *
 * HANDSHAKE is a file with the opening request, which offers permessage-deflate or does not; MESSAGES one with messages
 * of SIZE bytes each, sent in turn. Frames are masked, and compressed, before the clock runs (RFC 7692 7.1.1.2 lets a
 * client compress each message by itself whatever was agreed); answers are compressed with whatever context the server
 * keeps. Every answer's opcode, length and content is compared with what was sent. Loopback only, Linux only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

struct frame {
    unsigned char *bytes;
    size_t length;
};

struct client {
    int fd;
    size_t message; /* index of the one in flight */
    int waiting;    /* for an answer */
    uint64_t sent;
    size_t got; /* bytes in `buffer` */
    unsigned char *buffer;
    z_stream *answers; /* NULL without compression */
};

static size_t size, count, room;
static int opcode;
static unsigned char *messages, *unpacked;
static struct frame *frames;
static uint64_t answered, compressed;

static void fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("echo: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static unsigned char *contents(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END))
        fail("cannot read %s", path);
    *length = (size_t)ftell(file);
    unsigned char *bytes = calloc(1, *length + 1);
    rewind(file);
    if (fread(bytes, 1, *length, file) != *length)
        fail("cannot read %s", path);
    fclose(file);
    return bytes;
}

/* A client's frame (RFC 6455 5.2); the masking key only has to look random here. */
static struct frame make_frame(int first, const unsigned char *payload, size_t length)
{
    static uint32_t state = 2463534242u;
    struct frame made = {malloc(length + 14), 2};
    made.bytes[0] = (unsigned char)first;
    if (length < 126) {
        made.bytes[1] = (unsigned char)(0x80 | length);
    } else {
        int wide = length > 65535;
        made.bytes[1] = (unsigned char)(0x80 | (wide ? 127 : 126));
        for (int shift = wide ? 56 : 8; shift >= 0; shift -= 8)
            made.bytes[made.length++] = (unsigned char)((uint64_t)length >> shift);
    }
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    unsigned char *key = made.bytes + made.length;
    memcpy(key, &state, 4);
    made.length += 4;
    for (size_t i = 0; i < length; i++)
        made.bytes[made.length++] = payload[i] ^ key[i & 3];
    return made;
}

/* One frame for each message; compressed with a window of `bits`, if that is not 0. */
static void make_frames(int bits)
{
    unsigned char *packed = malloc(2 * size + 64);
    frames = calloc(count, sizeof *frames);
    for (size_t i = 0; i < count; i++) {
        if (!bits) {
            frames[i] = make_frame(0x80 | opcode, messages + i * size, size);
            continue;
        }
        z_stream stream = {.next_in = messages + i * size, .avail_in = (uInt)size, .next_out = packed, .avail_out = (uInt)(2 * size + 64)};
        if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -bits, 8, Z_DEFAULT_STRATEGY) ||
            deflate(&stream, Z_SYNC_FLUSH))
            fail("cannot compress with %d window bits", bits);
        frames[i] = make_frame(0xc0 | opcode, packed, 2 * size + 64 - stream.avail_out - 4);
        deflateEnd(&stream);
    }
    free(packed);
}

/* Connect and shake hands. Returns the window bits for the client's messages, 0 without compression. */
static int open_connection(struct client *client, const struct sockaddr_in *address, const char *request, size_t length)
{
    char answer[4096];
    size_t got = 0;
    int one = 1, bits = 0;
    struct timeval patience = {.tv_sec = 5};
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client->fd, (const struct sockaddr *)address, sizeof *address))
        fail("connect: %s", strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(client->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("send: %s", strerror(errno));
    do {
        ssize_t more = recv(client->fd, answer + got, sizeof answer - 1 - got, 0);
        if (more <= 0)
            fail("no complete answer to a handshake");
        got += (size_t)more;
        answer[got] = 0;
    } while (!strstr(answer, "\r\n\r\n"));
    if (memcmp(answer + 8, " 101", 4) || !strstr(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) /* the key of RFC 6455 1.3 */
        fail("a handshake was not accepted: %.60s", answer);
    int agreed = strcasestr(answer, "permessage-deflate") != NULL;
    if (agreed != (strstr(request, "permessage-deflate") != NULL))
        fail("permessage-deflate was %s", agreed ? "not asked for" : "not agreed to");
    if (agreed) {
        const char *limit = strcasestr(answer, "client_max_window_bits=");
        bits = limit ? atoi(limit + strlen("client_max_window_bits=")) : 15;
        client->answers = calloc(1, sizeof *client->answers);
        if (inflateInit2(client->answers, -15))
            fail("inflate");
    }
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    client->buffer = malloc(room);
    return bits;
}

static void send_message(struct client *client)
{
    const struct frame *frame = &frames[client->message];
    client->sent = now();
    client->waiting = 1;
    if (send(client->fd, frame->bytes, frame->length, MSG_NOSIGNAL) != (ssize_t)frame->length)
        fail("send: %s", strerror(errno));
}

/* Compare an answer with what was sent. */
static void check_answer(struct client *client, int first, unsigned char *payload, size_t length)
{
    static unsigned char tail[] = {0, 0, 0xff, 0xff};
    if (!client->waiting)
        fail("a message that nothing was sent for");
    if ((first & 0xbf) != (0x80 | opcode) || (first & 0x40 && !client->answers))
        fail("an answer begins with 0x%02x", (unsigned)first);
    if (first & 0x40) {
        z_stream *stream = client->answers;
        stream->next_out = unpacked;
        stream->avail_out = (uInt)size + 1;
        for (int part = 0; part < 2; part++) {
            stream->next_in = part ? tail : payload;
            stream->avail_in = (uInt)(part ? sizeof tail : length);
            int result = inflate(stream, Z_SYNC_FLUSH);
            if ((result != Z_OK && result != Z_BUF_ERROR) || stream->avail_in)
                fail("an answer that cannot be decompressed");
        }
        payload = unpacked;
        length = size + 1 - stream->avail_out;
        compressed++;
    }
    if (length != size || memcmp(payload, messages + client->message * size, size))
        fail("an answer of %zu bytes is not what was sent", length);
    client->waiting = 0;
    answered++;
}

/* Take whole frames out of what has been received. */
static void take_frames(struct client *client)
{
    size_t start = 0;
    while (client->got - start >= 2) {
        unsigned char *head = client->buffer + start;
        size_t length = head[1] & 127, skip = 2;
        if (length > 125) {
            skip = length == 126 ? 4 : 10;
            if (client->got - start < skip)
                break;
            length = 0;
            for (size_t i = 2; i < skip; i++)
                length = length << 8 | head[i];
        }
        if (head[1] & 0x80 || length > room - skip)
            fail("a frame begins with 0x%02x 0x%02x", (unsigned)head[0], (unsigned)head[1]);
        if (client->got - start < skip + length)
            break;
        int kind = head[0] & 15;
        if (kind == CLOSE) {
            fail("the server closes with %d", length < 2 ? 1005 : head[skip] << 8 | head[skip + 1]);
        } else if (kind == PING) {
            struct frame pong = make_frame(0x80 | PONG, head + skip, length);
            if (send(client->fd, pong.bytes, pong.length, MSG_NOSIGNAL) != (ssize_t)pong.length)
                fail("send: %s", strerror(errno));
            free(pong.bytes);
        } else if (kind != PONG) {
            check_answer(client, head[0], head + skip, length);
        }
        start += skip + length;
    }
    client->got -= start;
    if (client->got && start)
        memmove(client->buffer, client->buffer + start, client->got);
}

/* Say goodbye, and give the server a second to answer. */
static void close_connections(struct client *clients, size_t connections)
{
    static const unsigned char normal[] = {0x03, 0xe8};
    struct frame goodbye = make_frame(0x80 | CLOSE, normal, sizeof normal);
    struct timeval patience = {.tv_sec = 1};
    char answer[64];
    for (size_t i = 0; i < connections; i++)
        (void)!send(clients[i].fd, goodbye.bytes, goodbye.length, MSG_NOSIGNAL);
    for (size_t i = 0; i < connections; i++) {
        fcntl(clients[i].fd, F_SETFL, 0);
        setsockopt(clients[i].fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (recv(clients[i].fd, answer, sizeof answer, 0) < 0 && errno == EAGAIN)
            break;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[256];
    size_t length, total, connections, done = 0;
    if (argc != 8) {
        fprintf(stderr, "usage: echo PORT HANDSHAKE MESSAGES SIZE text|binary CONNECTIONS SECONDS\n");
        return 2;
    }
    const char *request = (const char *)contents(argv[2], &length);
    messages = contents(argv[3], &total);
    size = strtoul(argv[4], NULL, 10);
    count = size ? total / size : 0;
    opcode = strcmp(argv[5], "text") ? BINARY : TEXT;
    connections = strtoul(argv[6], NULL, 10);
    double seconds = atof(argv[7]);
    if (!count || !connections)
        fail("nothing to send");
    room = 2 * size + 1024;
    unpacked = malloc(size + 1);
    struct client *clients = calloc(connections, sizeof *clients);
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int poll = epoll_create1(0), bits = 0;
    for (size_t i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        bits = open_connection(&clients[i], &address, request, length);
        clients[i].message = i * count / connections;
        epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    make_frames(bits);

    size_t capacity = 1 << 20;
    uint32_t *latencies = malloc(capacity * sizeof *latencies);
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), time = start;
    for (size_t i = 0; i < connections; i++)
        send_message(&clients[i]);
    size_t waiting = connections;
    while (waiting) {
        int ready = epoll_wait(poll, events, 256, 5000);
        if (!ready)
            fail("%zu messages are not answered", waiting);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            uint64_t before = answered;
            ssize_t got = recv(client->fd, client->buffer + client->got, room - client->got, 0);
            if (got < 0 && errno == EAGAIN)
                continue;
            if (got <= 0)
                fail("the server closed a connection");
            client->got += (size_t)got;
            take_frames(client);
            if (answered == before)
                continue;
            time = now();
            if (time >= end) { /* answered too late to count */
                waiting--;
                continue;
            }
            if (done == capacity)
                latencies = realloc(latencies, (capacity *= 2) * sizeof *latencies);
            uint64_t latency = time - client->sent;
            latencies[done++] = latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency;
            client->message = (client->message + 1) % count;
            send_message(client);
        }
    }
    close_connections(clients, connections);
    if (!done)
        fail("no answer in time");
    qsort(latencies, done, sizeof *latencies, compare);
    printf("RESULT {\"requests\":%zu,\"microseconds\":%.0f,\"bytes\":%zu,\"p50\":%.1f,\"p99\":%.1f,\"compressed\":%.4f}\n", done,
           (double)(end - start) / 1e3, done * size, latencies[done / 2] / 1e3, latencies[done - 1 - done / 100] / 1e3,
           (double)compressed / (double)answered);
    return 0;
}
