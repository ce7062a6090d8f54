package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	callTimeout  = 3 * time.Second        // one call to one service, repetitions included
	orderTimeout = 5 * time.Second        // an order, which is a chain of calls
	minorTimeout = time.Second            // a call whose failure the user should hardly feel
	adTimeout    = 100 * time.Millisecond // upstream gives ads this long
	drainTimeout = 8 * time.Second        // between SIGTERM and giving up on what still runs
)

// patientConfig is the service configuration of patient clients: a call that met a dying server is repeated on a fresh
// connection. Charging a card, shipping and ordering are not: the server may have done its work before it died.
const patientConfig = `{"methodConfig": [
  {"name": [{}],
   "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2,
                   "retryableStatusCodes": ["UNAVAILABLE"]}},
  {"name": [{"service": "hipstershop.PaymentService"}, {"service": "hipstershop.CheckoutService"},
            {"service": "hipstershop.ShippingService", "method": "ShipOrder"}]}
]}`

// dial returns a lazy connection to the address in an environment variable: the peer need not be there yet.
//
// By default a call fails at once when no peer answers, as upstream's does. With RPC_RETRY=on it waits for a peer
// within its deadline and is repeated when a peer dies under it, so one of several replicas may be lost unnoticed.
func (e env) dial(key string) (*grpc.ClientConn, error) {
	address := e.or(key, "")
	if address == "" {
		return nil, fmt.Errorf("environment variable %s is not set", key)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(withDeadline),
		// Behind a ClusterIP another attempt may reach another pod: try again soon, and give up on a silent one soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 750 * time.Millisecond,
		}),
		// Timeout also bounds how long sent bytes may stay unacknowledged: a vanished pod is noticed within it.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.WithIdleTimeout(0),
	}
	if e.or("RPC_RETRY", "off") == "on" {
		options = append(options,
			grpc.WithDefaultServiceConfig(patientConfig),
			grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	}
	return grpc.NewClient("passthrough:///"+address, options...)
}

// withDeadline bounds every call: nothing that a user waits for may hang for ever.
func withDeadline(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	limit := callTimeout
	if method == "/hipstershop.CheckoutService/PlaceOrder" {
		limit = orderTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return call(ctx, method, req, reply, conn, opts...)
}

// minor makes a call that is not worth waiting for: it gets `limit`, and fails at once when no peer answers.
func minor[Req, Reply any](
	ctx context.Context, limit time.Duration,
	call func(context.Context, Req, ...grpc.CallOption) (Reply, error), request Req,
) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return call(ctx, request, grpc.WaitForReady(false))
}

// grpcServer serves one gRPC service with the standard health service beside it.
type grpcServer struct {
	healthpb.UnimplementedHealthServer
	register func(*grpc.Server)
	check    func(context.Context) error // whether the service can do its work; nil: always
	stopping chan struct{}
}

func newGRPC(register func(*grpc.Server), check func(context.Context) error) *grpcServer {
	return &grpcServer{register: register, check: check, stopping: make(chan struct{})}
}

func (s *grpcServer) serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		// A client behind a ClusterIP sticks to one pod; ending connections now and then spreads it over new ones.
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 30 * time.Second, MaxConnectionAgeGrace: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(logFailures),
	)
	s.register(server)
	healthpb.RegisterHealthServer(server, s)

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	slog.Info("draining")
	close(s.stopping)
	late := time.AfterFunc(drainTimeout, server.Stop)
	defer late.Stop()
	server.GracefulStop() // GOAWAY: clients move to another pod, calls in flight finish
	return nil
}

// Check answers probes: not serving while draining, or when something that the service cannot work without is gone.
func (s *grpcServer) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	answer := healthpb.HealthCheckResponse_SERVING
	select {
	case <-s.stopping:
		answer = healthpb.HealthCheckResponse_NOT_SERVING
	default:
		if s.check == nil {
			break
		}
		if err := s.check(ctx); err != nil {
			slog.Warn("not healthy", "error", err)
			answer = healthpb.HealthCheckResponse_NOT_SERVING
		}
	}
	return &healthpb.HealthCheckResponse{Status: answer}, nil
}

func logFailures(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	reply, err := handle(ctx, req)
	if err != nil && status.Code(err) != codes.Canceled {
		slog.Error("call failed", "method", info.FullMethod, "code", status.Code(err).String(), "error", err)
	}
	return reply, err
}
