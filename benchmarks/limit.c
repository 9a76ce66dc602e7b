/* What the machine allows: an epoll loop that answers every request with the same bytes. `limit PORT`
 *
 * One read and one write per request, no parsing beyond looking for the end of a head. Loopback only, Linux only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD                                                                 \
    "HTTP/1.1 200 OK\r\nServer: limit\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" \
    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n"
#define BODY "\r\nHello, World!"

static const char KEEPING[] = HEAD BODY;
static const char CLOSING[] = HEAD "Connection: close\r\n" BODY;

/* Whether `head` asks for the connection to be closed. */
static int asks_close(const char *head, size_t length)
{
    return memmem(head, length, "Connection: close", 17) != NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    static char buffer[65536];
    int one = 1, listener, poll;

    if (argc != 2) {
        fprintf(stderr, "usage: limit PORT\n");
        return 2;
    }
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("limit");
        return 1;
    }
    poll = epoll_create1(EPOLL_CLOEXEC);
    event.data.fd = listener;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (client < 0)
                    continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = client;
                epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            ssize_t length = read(fd, buffer, sizeof buffer);
            if (length <= 0) {
                if (length == 0 || errno != EAGAIN)
                    close(fd);
                continue;
            }
            if (length >= 4 && !memcmp(buffer + length - 4, "\r\n\r\n", 4)) {
                int last = asks_close(buffer, (size_t)length);
                ssize_t sent = last ? write(fd, CLOSING, sizeof CLOSING - 1) : write(fd, KEEPING, sizeof KEEPING - 1);
                if (last || sent < 0)
                    close(fd);
            }
        }
    }
}
