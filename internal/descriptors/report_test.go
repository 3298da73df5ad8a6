package descriptors_test

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/descriptors"
)

func TestShortageIsReportedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		r := descriptors.NewReporter(slog.New(slog.NewTextHandler(&log, nil)))
		for range 130 {
			r.Report("clients wait", descriptors.ErrReserved, "clients", 96)
			time.Sleep(time.Second)
		}
		is.Equal(strings.Count(log.String(), "\n"), 3) // at 0, 60 and 120 s
		line, _, _ := strings.Cut(log.String(), "\n")
		for _, want := range []string{"level=WARN", "clients wait: raise the limit of open files", "clients=96", "limit=", "too many open files"} {
			if !strings.Contains(line, want) {
				t.Errorf("%q is not in %s", want, line)
			}
		}
		log.Reset()
		time.Sleep(time.Minute)
		r.Report("clients wait", syscall.ENFILE)
		is.True(strings.Contains(log.String(), "fs.file-max"))  // which is not of the process
		descriptors.NewReporter(nil).Report("", syscall.EMFILE) // is told to nobody
	})
}
