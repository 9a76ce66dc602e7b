/* Load at a given rate, which wrk cannot do. `pace PORT FILE CONNECTIONS RATE SECONDS`
 *
 * Sends the request in FILE at random moments, RATE a second on average (a Poisson process, the same one in every run), each
 * on a connection that is free. A latency counts from the moment a request was due, not from when it was sent: a
 * server that makes requests wait for a connection does not hide that. Polls, so that no wake-up of its own is measured.
 * Loopback only, Linux only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    size_t got;      /* bytes of the response so far */
    size_t expected; /* bytes of the whole response, 0 while the head is not complete */
    int last;        /* the server closes the connection after this response */
    uint64_t due;
    char head[4096]; /* the whole response */
};

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Nanoseconds to the next request. */
static double pause_before_next(double rate)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return -log(((double)(state >> 11) + 1) / 9007199254740993.0) / rate * 1e9;
}

static int compare(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Read the head, once it is all there: status 200, Content-Length, and whether the connection ends. */
static void read_head(struct client *client)
{
    const char *end = memmem(client->head, client->got, "\r\n\r\n", 4);
    if (end == NULL)
        return;
    client->last = 0;
    for (const char *line = client->head; line < end; line = strstr(line, "\r\n") + 2) {
        if (!strncasecmp(line, "content-length:", 15))
            client->expected = (size_t)(end - client->head) + 4 + strtoul(line + 15, NULL, 10);
        client->last |= !strncasecmp(line, "connection: close", 17);
    }
    if (!client->expected || client->expected >= sizeof client->head || memcmp(client->head + 8, " 200", 4)) {
        fprintf(stderr, "pace: not the response that was expected\n");
        exit(1);
    }
}

static void open_connection(struct client *client, int poll, const struct sockaddr_in *address)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client->fd, (const struct sockaddr *)address, sizeof *address))
        fail("connect");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poll, EPOLL_CTL_ADD, client->fd, &event);
}

int main(int argc, char **argv)
{
    static char request[65536];
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[256];
    FILE *file = argc == 6 ? fopen(argv[2], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: pace PORT FILE CONNECTIONS RATE SECONDS\n");
        return 2;
    }
    size_t length = fread(request, 1, sizeof request, file);
    int count = atoi(argv[3]), poll = epoll_create1(0);
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    struct client *clients = calloc((size_t)count, sizeof *clients), **free_ones = calloc((size_t)count, sizeof *free_ones);
    size_t room = (size_t)(rate * seconds * 1.2) + 10000, done = 0;
    uint32_t *latencies = malloc(room * sizeof *latencies);

    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; i++)
        open_connection(free_ones[i] = &clients[i], poll, &address);
    int available = count;
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), time = start, idle = 0;
    double due = (double)start + pause_before_next(rate);
    while (time < end && done < room) {
        uint64_t turn = time;
        int busy = 0;
        while (available && due <= (double)time) {
            struct client *client = free_ones[--available];
            client->due = (uint64_t)due;
            client->got = client->expected = 0;
            if (send(client->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
                fail("send");
            due += pause_before_next(rate);
            time = now();
            busy = 1;
        }
        int ready = epoll_wait(poll, events, 256, 0);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            ssize_t got = recv(client->fd, client->head + client->got, sizeof client->head - 1 - client->got, 0);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN)
                    continue;
                fprintf(stderr, "pace: the server closed a connection\n");
                return 1;
            }
            client->got += (size_t)got;
            client->head[client->got] = 0;
            if (!client->expected)
                read_head(client);
            if (client->expected && client->got >= client->expected) {
                uint64_t latency = now() - client->due;
                latencies[done++] = latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency;
                free_ones[available++] = client;
                if (client->last) {
                    close(client->fd);
                    open_connection(client, poll, &address);
                }
            }
        }
        time = now();
        if (!busy && !ready)
            idle += time - turn;
    }
    if (!done) {
        fprintf(stderr, "pace: no response\n");
        return 1;
    }
    qsort(latencies, done, sizeof *latencies, compare);
    printf("RESULT {\"requests\":%zu,\"microseconds\":%.0f,\"p50\":%.1f,\"p99\":%.1f,\"busy\":%.4f}\n", done,
           (double)(time - start) / 1e3, latencies[done / 2] / 1e3, latencies[done - 1 - done / 100] / 1e3,
           1 - (double)idle / (double)(time - start));
    return 0;
}
