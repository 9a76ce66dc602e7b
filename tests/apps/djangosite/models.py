"""One table, to have the ORM do something."""

from django.db import models


class Note(models.Model):
    text = models.TextField()
    author = models.ForeignKey("auth.User", null=True, on_delete=models.SET_NULL)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "djangosite"
        ordering = ["pk"]
