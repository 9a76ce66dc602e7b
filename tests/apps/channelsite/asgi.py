from djangosite.channels_asgi import application as application
