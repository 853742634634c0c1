package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/logging"
)

// openLogFile opens the file of log.file; nil if there is none. The error is a
// config.Errors.
func openLogFile(c *config.Config) (*logging.File, error) {
	if c.Log.File == "" {
		return nil, nil
	}
	f, err := logging.OpenFile(c.Log.File)
	if err != nil {
		return nil, logFileError(c, err)
	}
	return f, nil
}

func logFileError(c *config.Config, err error) config.Errors {
	if bad, ok := errors.AsType[*fs.PathError](err); ok {
		err = bad.Err
	}
	errs := config.Errors{{Path: config.Path("log").Key("file"), Msg: fmt.Sprintf("the log can't be written to %s: %v", c.Log.File, err)}}
	c.Locate(errs)
	return errs
}

// checkLogFile returns why the file of log.file couldn't be opened, as far as that can be
// seen without making it.
func checkLogFile(c *config.Config) config.Errors {
	if c.Log.File == "" {
		return nil
	}
	switch info, err := os.Stat(c.Log.File); {
	case err == nil && info.IsDir():
		return logFileError(c, errors.New("it is a folder: write a file in it"))
	case err == nil:
		return nil
	}
	if _, err := os.Stat(filepath.Dir(c.Log.File)); err != nil {
		return logFileError(c, errors.New("its folder can't be used: make it, or allow the balancer's user to enter it"))
	}
	return nil
}

// logsHTTP implements proxy.Options.LogHTTP.
func (a *App) logsHTTP(status int, broken bool) bool {
	switch a.current.Load().Log.HTTP {
	case "all":
		return true
	case "errors":
		return broken || status >= 400
	}
	return false
}

// ReopenLog opens the file of log.file again, after it was renamed, so that another
// program may pack it. If that fails, the old one stays in use, and a line says why.
func (a *App) ReopenLog() {
	a.reload.Lock()
	defer a.reload.Unlock()
	c := a.current.Load()
	if c.Log.File == "" || a.stopped {
		return
	}
	f, err := openLogFile(c)
	if err != nil {
		a.slog.Error("the log file can't be opened again; the old one stays in use", "error", err)
		return
	}
	a.log.Use(f)
	a.slog.Info("the log file is opened again", "file", c.Log.File)
}
