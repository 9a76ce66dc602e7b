# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/watch.py, where everything is documented.

The thread is C from end to end: no Python object, no GIL, all signals blocked. It sleeps in poll(2) on a pipe, where a
byte tells it to end. What it writes to is held by the object that has started it, which outlives it; at the end
of a process that has not stopped it, it simply goes with the process.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from *:
    """
    #if defined(_WIN32)
    /* Without fork there is no other process that would look. */
    static void *gateway_beat_start(void *cell, int interval) { (void)cell; (void)interval; return NULL; }
    static void gateway_beat_stop(void *beat) { (void)beat; }
    #else
    #include <errno.h>
    #include <fcntl.h>
    #include <poll.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <time.h>
    #include <unistd.h>

    typedef struct {
        pthread_t thread;
        pid_t process;
        int64_t *cell;
        int interval;
        int wake[2];
    } gateway_beat;

    static void gateway_beat_stamp(int64_t *cell)
    {
        struct timespec now;
    #if defined(__APPLE__)
        /* The clock of `time.monotonic` there. */
        if (clock_gettime(CLOCK_UPTIME_RAW, &now) != 0)
    #else
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
    #endif
            return;
        __atomic_store_n(cell, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, __ATOMIC_RELAXED);
    }

    static void *gateway_beat_run(void *argument)
    {
        gateway_beat *beat = (gateway_beat *)argument;
        struct pollfd end = {beat->wake[0], POLLIN, 0};
        int ready;
        for (;;) {
            gateway_beat_stamp(beat->cell);
            ready = poll(&end, 1, beat->interval);
            if (ready > 0 || (ready < 0 && errno != EINTR && errno != EAGAIN))
                return NULL;
        }
    }

    static void *gateway_beat_start(void *cell, int interval)
    {
        sigset_t all, before;
        int failed;
        gateway_beat *beat = (gateway_beat *)malloc(sizeof(gateway_beat));
        if (beat == NULL)
            return NULL;
        beat->process = getpid();
        beat->cell = (int64_t *)cell;
        beat->interval = interval;
        if (pipe(beat->wake) != 0) {
            free(beat);
            return NULL;
        }
        (void)fcntl(beat->wake[0], F_SETFD, FD_CLOEXEC);
        (void)fcntl(beat->wake[1], F_SETFD, FD_CLOEXEC);
        gateway_beat_stamp(beat->cell);
        /* Inherited by the thread: signals are for the main thread. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        failed = pthread_create(&beat->thread, NULL, gateway_beat_run, beat);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (failed) {
            close(beat->wake[0]);
            close(beat->wake[1]);
            free(beat);
            return NULL;
        }
        return beat;
    }

    static void gateway_beat_stop(void *argument)
    {
        gateway_beat *beat = (gateway_beat *)argument;
        /* A process that was forked has the pipe, but not the thread. It may keep the pipe open, too: its hang-up would
           tell nothing. */
        if (beat->process == getpid()) {
            while (write(beat->wake[1], "", 1) < 0 && errno == EINTR)
                ;
            pthread_join(beat->thread, NULL);
        }
        close(beat->wake[0]);
        close(beat->wake[1]);
        free(beat);
    }
    #endif
    """
    void *gateway_beat_start(void *cell, int interval) noexcept nogil
    void gateway_beat_stop(void *beat) noexcept nogil


cdef class Heartbeat:
    def __init__(self, memory, Py_ssize_t offset, double interval):
        if self._held:
            raise RuntimeError("a heartbeat is made once")
        PyObject_GetBuffer(memory, &self._memory, PyBUF_WRITABLE)
        self._held = True
        if offset < 0 or offset % 8 or offset + 8 > self._memory.len or not interval > 0:
            raise ValueError("a heartbeat needs eight bytes of the memory, aligned, and an interval")
        self._offset = offset
        self._interval = max(1, <int>(min(interval, 3600.0) * 1000))

    def __dealloc__(self):
        self._end()
        if self._held:
            PyBuffer_Release(&self._memory)

    cpdef bint start(self) except -1:
        if self._beat == NULL and self._held:
            self._beat = gateway_beat_start(<char *>self._memory.buf + self._offset, self._interval)
        return self._beat != NULL

    cpdef int stop(self) except -1:
        self._end()
        return 0

    cdef int _end(self) noexcept:
        cdef void *beat = self._beat
        self._beat = NULL
        if beat != NULL:
            with nogil:
                gateway_beat_stop(beat)
        return 0
