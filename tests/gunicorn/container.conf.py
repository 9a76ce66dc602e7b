"""The environment decides, with names on the way that gunicorn does not know, nor gateway should."""

import json
import multiprocessing
import os

host = os.getenv("SHOP_HOST", "0.0.0.0")
port = os.getenv("SHOP_PORT", "8080")
bind_env = os.getenv("SHOP_BIND", None)
use_bind = bind_env or f"{host}:{port}"

workers_per_core = float(os.getenv("SHOP_WORKERS_PER_CORE", "0.5"))
cores = multiprocessing.cpu_count()
web_concurrency = max(int(workers_per_core * cores), 2)
loop = "fast"
header = {"not": "a header"}
app = object()
gateway = "10.0.0.1"

loglevel = os.getenv("SHOP_LOG_LEVEL", "warning")
workers = int(os.getenv("SHOP_WORKERS", "1"))
bind = use_bind
errorlog = os.getenv("SHOP_ERROR_LOG", "-") or None
worker_tmp_dir = "/dev/shm"
accesslog = os.getenv("SHOP_ACCESS_LOG", "") or None
graceful_timeout = int(os.getenv("SHOP_GRACEFUL_TIMEOUT", "120"))
timeout = int(os.getenv("SHOP_TIMEOUT", "120"))
keepalive = int(os.getenv("SHOP_KEEP_ALIVE", "5"))
worker_class = "uvicorn.workers.UvicornWorker"
forwarded_allow_ips = "*"

log_data = {"loglevel": loglevel, "workers": workers, "bind": bind, "host": host, "port": port}
print(json.dumps(log_data))
