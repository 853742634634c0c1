package e2e

var engines = []string{"epoll", "portable"}
