from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("async", views.index_async),
    path("about", views.about),
    path("about/<path:rest>", lambda request, rest: views.about(request)),
    path("async/about", views.about_async),
    path("notes", views.notes),
    path("async/notes", views.notes_async),
    path("login", views.login_view),
    path("logout", views.logout_view),
    path("private", views.private),
    path("upload", views.upload),
    path("body", views.body),
    path("stream", views.stream),
    path("async/stream", views.stream_async),
    path("stream/mixed/<int:number>", lambda request, number: views.stream_mixed(request)),
    path("signals", views.signals),
    path("file", views.file),
    path("redirect", views.redirect),
    path("nothing", views.nothing),
    path("fails", views.fails),
    path("async/fails", views.fails_async),
    path("database", views.database),
]
