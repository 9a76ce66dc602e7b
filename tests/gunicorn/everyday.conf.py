"""Settings as most files have them, many of them gunicorn's own defaults."""

bind = "127.0.0.1:8000"
backlog = 1024

workers = 1
worker_class = "sync"
worker_connections = 500
timeout = 30
keepalive = 3

spew = False

daemon = False
raw_env = [
    "DJANGO_SETTINGS_MODULE=site.settings",
    "FLAVOUR=sweet and sour",
]
pidfile = None
umask = 0
user = None
group = None
tmp_upload_dir = None

errorlog = "-"
loglevel = "INFO"
accesslog = "-"
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

proc_name = None


def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)


def pre_fork(server, worker):
    pass


def pre_exec(server):
    server.log.info("Forked child, re-executing.")


def when_ready(server):
    server.log.info("Server is ready. Spawning workers")


def worker_int(worker):
    import traceback

    worker.log.debug("".join(traceback.format_stack()))


def worker_abort(worker):
    worker.log.info("worker received SIGABRT signal")
