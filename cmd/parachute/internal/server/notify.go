package server

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
)

// newNotifier returns what tells others about services.
func (c Config) newNotifier(logger *slog.Logger) *notify.Notifier {
	config := c.Notify
	config.Version, config.Logger, config.EncodeEvent = c.Version, logger, control.EncodeEvent
	return notify.New(config)
}

// whyItServes returns what is told when the process begins to serve.
func (c Config) whyItServes(a *arrival) string {
	if a == nil {
		return fmt.Sprintf("the proxy serves, version %s", c.Version)
	}
	return fmt.Sprintf("the proxy was upgraded from version %s to %s", a.offer.Version, c.Version)
}

// closeNotifier lets the last notifications be sent, unless that takes long.
func (p *parts) closeNotifier() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	p.notifier.Close(ctx)
}
