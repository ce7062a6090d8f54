package main

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"boutique/pb"
)

// A shop is all eleven services on loopback ports, in one process.
type shop struct {
	t       *testing.T
	redis   *miniredis.Miniredis
	vars    map[string]string
	address map[string]string // service -> host:port
	stops   map[string]func()
	client  *http.Client
}

var addressKeys = map[string]string{
	"AD_SERVICE_ADDR": "adservice", "CART_SERVICE_ADDR": "cartservice", "CHECKOUT_SERVICE_ADDR": "checkoutservice",
	"CURRENCY_SERVICE_ADDR": "currencyservice", "EMAIL_SERVICE_ADDR": "emailservice", "PAYMENT_SERVICE_ADDR": "paymentservice",
	"PRODUCT_CATALOG_SERVICE_ADDR": "productcatalogservice", "RECOMMENDATION_SERVICE_ADDR": "recommendationservice",
	"SHIPPING_SERVICE_ADDR": "shippingservice",
}

func newShop(t *testing.T, vars map[string]string) *shop {
	t.Helper()
	jar := must(cookiejar.New(nil))
	s := &shop{t: t, redis: miniredis.RunT(t), vars: map[string]string{"FRONTEND_MESSAGE": "release v7"},
		address: map[string]string{}, stops: map[string]func(){}, client: &http.Client{Jar: jar, Timeout: 10 * time.Second}}
	s.vars["REDIS_ADDR"] = s.redis.Addr()
	maps.Copy(s.vars, vars)
	listeners := map[string]net.Listener{}
	for name := range kinds {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name], s.address[name] = listener, listener.Addr().String()
	}
	for key, name := range addressKeys {
		s.vars[key] = s.address[name]
	}
	for name, listener := range listeners {
		s.start(name, listener)
	}
	t.Cleanup(func() {
		for _, stop := range s.stops {
			stop()
		}
	})
	return s
}

// start runs one service; stop ends it and waits for it.
func (s *shop) start(name string, listener net.Listener) {
	s.t.Helper()
	server, err := kinds[name].open(func(key string) string { return s.vars[key] })
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.serve(ctx, listener) }()
	s.stops[name] = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	}
}

func (s *shop) stop(names ...string) {
	for _, name := range names {
		s.stops[name]()
		delete(s.stops, name)
	}
}

func (s *shop) restart(name string) {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address[name])
	if err != nil {
		s.t.Fatal(err)
	}
	s.start(name, listener)
}

func (s *shop) get(path string) (int, string) {
	s.t.Helper()
	return s.read(s.client.Get("http://" + s.address["frontend"] + path))
}

func (s *shop) post(path string, form url.Values) (int, string) {
	s.t.Helper()
	return s.read(s.client.PostForm("http://"+s.address["frontend"]+path, form))
}

func (s *shop) read(reply *http.Response, err error) (int, string) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

func expect(t *testing.T, what string, code int, body string, wantCode int, wants ...string) {
	t.Helper()
	if code != wantCode {
		t.Fatalf("%s: status %d, want %d\n%s", what, code, wantCode, body)
	}
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("%s: no %q in\n%s", what, want, body)
		}
	}
}

func order() url.Values {
	return url.Values{
		"email": {"a@example.com"}, "street_address": {"1 Road"}, "zip_code": {"94043"}, "city": {"Here"}, "state": {"CA"},
		"country": {"There"}, "credit_card_number": {"4432-8015-6152-0454"}, "credit_card_expiration_month": {"1"},
		"credit_card_expiration_year": {"2039"}, "credit_card_cvv": {"672"},
	}
}

func TestAnOrderGoesThroughAllServices(t *testing.T) {
	s := newShop(t, nil)
	code, body := s.get("/")
	expect(t, "home", code, body, 200, "release v7", "Sunglasses", "$19.99", "Ad:")
	code, body = s.get("/product/OLJCESPC7Z")
	expect(t, "product", code, body, 200, "release v7", "Add to cart", "You may also like")
	code, body = s.post("/setCurrency", url.Values{"currency_code": {"EUR"}})
	expect(t, "currency", code, body, 200, "€17.69")
	code, body = s.post("/cart", url.Values{"product_id": {"OLJCESPC7Z"}, "quantity": {"2"}})
	expect(t, "cart", code, body, 200, "Cart (2)", "€35.38", "€43.33")
	code, body = s.post("/cart/checkout", order())
	expect(t, "check-out", code, body, 200, "Your order is complete", "€43.33")
	code, body = s.get("/cart")
	expect(t, "cart after the order", code, body, 200, "Your shopping cart is empty")
}

func TestPlainRoutes(t *testing.T) {
	s := newShop(t, nil)
	for path, want := range map[string]string{
		"/_healthz": "ok", "/robots.txt": "Disallow", "/static/shop.css": "banner", "/logout": "Hot products",
	} {
		code, body := s.get(path)
		expect(t, path, code, body, 200, want)
	}
	code, body := s.get("/nothing")
	expect(t, "unknown path", code, body, 404)
	code, body = s.post("/cart/empty", nil)
	expect(t, "empty cart", code, body, 200, "Hot products")
	reply, err := s.client.Head("http://" + s.address["frontend"] + "/")
	if code, body = s.read(reply, err); code != 200 || body != "" {
		t.Errorf("HEAD /: %d, %q", code, body)
	}
}

func TestBadInputIsTheUsersMistake(t *testing.T) {
	s := newShop(t, nil)
	code, body := s.post("/cart", url.Values{"product_id": {"OLJCESPC7Z"}, "quantity": {"0"}})
	expect(t, "quantity", code, body, 422, "release v7")
	bad := order()
	bad.Set("email", "nobody")
	code, body = s.post("/cart/checkout", bad)
	expect(t, "email", code, body, 422, "email")
	bad = order()
	bad.Set("credit_card_number", "4432-8015-6152-0455")
	code, body = s.post("/cart/checkout", bad)
	expect(t, "card", code, body, 500, "credit card info is invalid")
}

func TestWhichLossBreaksWhichPage(t *testing.T) {
	fatal := map[string][]string{ // lost service -> broken pages; every other page must still work
		"adservice": {}, "recommendationservice": {}, "emailservice": {},
		"cartservice":           {"/", "/product/OLJCESPC7Z", "/cart", "order"},
		"checkoutservice":       {"order"},
		"currencyservice":       {"/", "/product/OLJCESPC7Z", "/cart", "order"},
		"paymentservice":        {"order"},
		"productcatalogservice": {"/", "/product/OLJCESPC7Z", "/cart", "order"},
		"shippingservice":       {"/cart", "order"},
	}
	for lost, broken := range fatal {
		t.Run(lost, func(t *testing.T) {
			s := newShop(t, nil)
			s.post("/cart", url.Values{"product_id": {"OLJCESPC7Z"}, "quantity": {"1"}})
			s.stop(lost)
			for _, page := range []string{"/", "/product/OLJCESPC7Z", "/cart", "order"} {
				want := 200
				if slices.Contains(broken, page) {
					want = 500
				}
				start := time.Now()
				var code int
				var body string
				if page == "order" {
					code, body = s.post("/cart/checkout", order())
				} else {
					code, body = s.get(page)
				}
				expect(t, page+" without "+lost, code, body, want, "release v7")
				if took := time.Since(start); took > callTimeout {
					t.Errorf("%s took %v", page, took)
				}
			}
			s.restart(lost)
			deadline := time.Now().Add(5 * time.Second)
			for {
				code, body := s.post("/cart", url.Values{"product_id": {"OLJCESPC7Z"}, "quantity": {"1"}})
				if code == 200 {
					code, body = s.post("/cart/checkout", order())
				}
				if code == 200 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("not back 5 s after its return: %d %s", code, body)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
}

func health(t *testing.T, address string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	conn := must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	reply, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return reply.GetStatus()
}

func TestEveryServiceIsHealthyAndTheCartOnlyWithItsStore(t *testing.T) {
	s := newShop(t, nil)
	for name, address := range s.address {
		if name != "frontend" && health(t, address) != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%s is not serving", name)
		}
	}
	s.redis.Close()
	if got := health(t, s.address["cartservice"]); got != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("cart without redis: %v", got)
	}
	code, body := s.get("/")
	expect(t, "home without redis", code, body, 500, "can&#39;t access cart storage")
}

// A cart that is away for a second is felt by a plain shop and not by a patient one.
func TestPatientClientsWaitForAPeer(t *testing.T) {
	for _, c := range []struct {
		retry string
		want  int
	}{{"off", 500}, {"on", 200}} {
		t.Run(c.retry, func(t *testing.T) {
			s := newShop(t, map[string]string{"RPC_RETRY": c.retry})
			s.get("/")
			s.stop("cartservice")
			back := make(chan struct{})
			time.AfterFunc(time.Second, func() { s.restart("cartservice"); close(back) })
			code, body := s.get("/")
			<-back
			expect(t, "home", code, body, c.want)
		})
	}
}

// flaky answers UNAVAILABLE a number of times, as a dying server does.
type flaky struct {
	pb.UnimplementedPaymentServiceServer
	pb.UnimplementedCartServiceServer
	left, calls int
}

func (f *flaky) answer() error {
	f.calls++
	if f.left > 0 {
		f.left--
		return status.Error(codes.Unavailable, "dying")
	}
	return nil
}

func (f *flaky) GetCart(context.Context, *pb.GetCartRequest) (*pb.Cart, error) {
	return &pb.Cart{}, f.answer()
}

func (f *flaky) Charge(context.Context, *pb.ChargeRequest) (*pb.ChargeResponse, error) {
	return &pb.ChargeResponse{}, f.answer()
}

func TestPatientClientsRepeatReadsButNeverACharge(t *testing.T) {
	f := &flaky{}
	server := grpc.NewServer()
	pb.RegisterPaymentServiceServer(server, f)
	pb.RegisterCartServiceServer(server, f)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	vars := map[string]string{"PEER": listener.Addr().String(), "RPC_RETRY": "on"}
	conn := must(env(func(key string) string { return vars[key] }).dial("PEER"))
	defer conn.Close()

	f.left = 2
	if _, err := pb.NewCartServiceClient(conn).GetCart(t.Context(), &pb.GetCartRequest{}); err != nil || f.calls != 3 {
		t.Errorf("cart: %v after %d calls", err, f.calls)
	}
	f.left, f.calls = 1, 0
	if _, err := pb.NewPaymentServiceClient(conn).Charge(t.Context(), &pb.ChargeRequest{}); status.Code(err) != codes.Unavailable || f.calls != 1 {
		t.Errorf("charge: %v after %d calls", err, f.calls)
	}
}

func TestASilentPeerIsGivenUpInTime(t *testing.T) {
	listener := must(net.Listen("tcp", "127.0.0.1:0")) // accepts, says nothing
	defer listener.Close()
	vars := map[string]string{"PEER": listener.Addr().String(), "RPC_RETRY": "on"}
	conn := must(env(func(key string) string { return vars[key] }).dial("PEER"))
	defer conn.Close()
	start := time.Now()
	_, err := pb.NewCartServiceClient(conn).GetCart(t.Context(), &pb.GetCartRequest{})
	if took := time.Since(start); err == nil || took > callTimeout+time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestLuhn(t *testing.T) {
	for number, want := range map[string]bool{
		"4432801561520454": true, "4432801561520455": false, "5555555555554444": true, "": false, "4": false, "44328015615204x4": false,
	} {
		if luhn(number) != want {
			t.Errorf("luhn(%q) = %v", number, !want)
		}
	}
}

func TestMoney(t *testing.T) {
	sum := add(times(&pb.Money{CurrencyCode: "USD", Units: 19, Nanos: 990_000_000}, 3), &pb.Money{Nanos: 50_000_000})
	if got := shown(sum); got != "$60.02" {
		t.Errorf("got %s", got)
	}
	if got := shown(converted(&pb.Money{Units: 10, Nanos: 500_000_000}, 2, "CHF")); got != "CHF 21.00" {
		t.Errorf("got %s", got)
	}
}

func TestAMissingVariableIsNamed(t *testing.T) {
	for name, want := range map[string]string{"cartservice": "REDIS_ADDR", "frontend": "AD_SERVICE_ADDR", "nonsense": "adservice, cartservice"} {
		err := run(t.Context(), name, func(string) string { return "" })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
