from djangosite.wsgi import application as application
