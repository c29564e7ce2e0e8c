/* The floor for UDP echoes: 32 datagrams of 64 bytes a sendmmsg, whatever is there a recvmmsg, a look at the clock each.
   Nothing is matched, nothing else is asked of the kernel.   plain_loop server|client ADDRESS PORT [COUNT] */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 32, SIZE = 64 };
static char bytes[BATCH][2048];
static struct iovec vectors[BATCH];
static struct mmsghdr headers[BATCH];
static struct sockaddr_in names[BATCH];

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int is_server = !strcmp(argv[1], "server");
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    inet_pton(AF_INET, argv[2], &there.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if ((is_server ? bind : connect)(fd, (struct sockaddr *)&there, sizeof there)) return 1;
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    if (is_server) {
        for (;;) {
            for (int i = 0; i < BATCH; i++) {
                headers[i].msg_hdr.msg_name = &names[i];
                headers[i].msg_hdr.msg_namelen = sizeof names[i];
                vectors[i].iov_len = sizeof bytes[i];
            }
            int got = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, 0);
            for (int i = 0; i < got; i++) vectors[i].iov_len = headers[i].msg_len;
            for (int sent = 0, now; sent < got; sent += now)
                if ((now = sendmmsg(fd, headers + sent, got - sent, 0)) <= 0) break;
        }
    }
    long count = atol(argv[4]), sent = 0, echoed = 0;
    struct timespec now;
    while (echoed < count) {
        long free = BATCH - (sent - echoed), left = count - sent;
        int next = free < left ? free : left;
        for (int i = 0; i < next; i++) vectors[i].iov_len = SIZE;
        if (next > 0) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            int went = sendmmsg(fd, headers, next, MSG_DONTWAIT);
            if (went > 0) sent += went;
        }
        for (int i = 0; i < BATCH; i++) vectors[i].iov_len = sizeof bytes[i];
        int got = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (got > 0) echoed += got;
    }
    printf("echoed %ld\n", echoed);
    return 0;
}
