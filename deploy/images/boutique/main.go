// Command boutique is every service of a small web shop in one static binary; BOUTIQUE_SERVICE says which one it is.
//
// It keeps the contract of Google's Online Boutique (gRPC package hipstershop, ports, environment variables, health,
// HTTP routes, and which failing dependency breaks which page), so that it can stand in for the upstream images where
// those cannot be pulled.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// env reads one environment variable; tests pass a map's lookup.
type env func(key string) string

// or returns the variable, or a default where it is empty.
func (e env) or(key, fallback string) string {
	if value := strings.TrimSpace(e(key)); value != "" {
		return value
	}
	return fallback
}

// A server is one service, ready to answer on a listener until the context ends, and then to drain.
type server interface {
	serve(ctx context.Context, listener net.Listener) error
}

// A kind is how to make one of the services, and the port that it listens on where PORT is not set.
type kind struct {
	port string
	open func(env) (server, error)
}

var kinds = map[string]kind{
	"adservice":             {"9555", openAd},
	"cartservice":           {"7070", openCart},
	"checkoutservice":       {"5050", openCheckout},
	"currencyservice":       {"7000", openCurrency},
	"emailservice":          {"8080", openEmail},
	"frontend":              {"8080", openFrontend},
	"paymentservice":        {"50051", openPayment},
	"productcatalogservice": {"3550", openCatalog},
	"recommendationservice": {"8080", openRecommendation},
	"shippingservice":       {"50051", openShipping},
}

func main() {
	name := os.Getenv("BOUTIQUE_SERVICE")
	slog.SetDefault(newLogger(name))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, name, os.Getenv); err != nil {
		slog.Error("the service ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, e env) error {
	kind, known := kinds[name]
	if !known {
		names := make([]string, 0, len(kinds))
		for each := range kinds {
			names = append(names, each)
		}
		slices.Sort(names)
		return fmt.Errorf("BOUTIQUE_SERVICE=%q is not one of %s", name, strings.Join(names, ", "))
	}
	server, err := kind.open(e)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(e.or("LISTEN_ADDR", ""), e.or("PORT", kind.port)))
	if err != nil {
		return err
	}
	slog.Info("listening", "address", listener.Addr().String())
	return server.serve(ctx, listener)
}

// newLogger writes JSON lines with the field names that upstream's services use.
func newLogger(service string) *slog.Logger {
	rename := func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey:
			a.Key = "timestamp"
		case slog.LevelKey:
			a.Key = "severity"
		case slog.MessageKey:
			a.Key = "message"
		}
		return a
	}
	handler := slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: rename})
	return slog.New(handler).With("service", service)
}
