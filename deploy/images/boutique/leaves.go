package main

// The services that need no more than a few lines: ads, email, payment, recommendations, shipping.

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"boutique/pb"
)

// --- ads

type ads struct {
	pb.UnimplementedAdServiceServer
}

func openAd(env) (server, error) {
	return newGRPC(func(s *grpc.Server) { pb.RegisterAdServiceServer(s, ads{}) }, nil), nil
}

// GetAds advertises what shares a category with the page, or anything.
func (ads) GetAds(_ context.Context, r *pb.AdRequest) (*pb.AdResponse, error) {
	var fitting, all []*pb.Ad
	for _, product := range products {
		ad := &pb.Ad{RedirectUrl: "/product/" + product.Id, Text: product.Name + " for sale. " + product.Description}
		all = append(all, ad)
		for _, key := range r.GetContextKeys() {
			if strings.Contains(strings.Join(product.Categories, " "), key) {
				fitting = append(fitting, ad)
			}
		}
	}
	if len(fitting) == 0 {
		fitting = []*pb.Ad{all[mathrand.IntN(len(all))], all[mathrand.IntN(len(all))]}
	}
	return &pb.AdResponse{Ads: fitting}, nil
}

// --- email

type email struct {
	pb.UnimplementedEmailServiceServer
}

func openEmail(env) (server, error) {
	return newGRPC(func(s *grpc.Server) { pb.RegisterEmailServiceServer(s, email{}) }, nil), nil
}

// SendOrderConfirmation sends nothing: like upstream's, it only says in its log that it was asked to.
func (email) SendOrderConfirmation(_ context.Context, r *pb.SendOrderConfirmationRequest) (*pb.Empty, error) {
	slog.Info("order confirmation requested", "order", r.GetOrder().GetOrderId(), "items", len(r.GetOrder().GetItems()))
	return &pb.Empty{}, nil
}

// --- payment

type payment struct {
	pb.UnimplementedPaymentServiceServer
	now func() time.Time
}

func openPayment(env) (server, error) {
	return newGRPC(func(s *grpc.Server) { pb.RegisterPaymentServiceServer(s, payment{now: time.Now}) }, nil), nil
}

// Charge accepts Visa and MasterCard numbers that are well formed and not expired.
func (p payment) Charge(_ context.Context, r *pb.ChargeRequest) (*pb.ChargeResponse, error) {
	card := r.GetCreditCard()
	number := strings.NewReplacer("-", "", " ", "").Replace(card.GetCreditCardNumber())
	now := p.now()
	year, month := int(card.GetCreditCardExpirationYear()), time.Month(card.GetCreditCardExpirationMonth())
	switch {
	case !luhn(number):
		return nil, status.Error(codes.InvalidArgument, "credit card info is invalid")
	case number[0] != '4' && number[0] != '5':
		return nil, status.Error(codes.InvalidArgument, "only Visa and MasterCard are accepted")
	case year < now.Year() || year == now.Year() && month < now.Month():
		return nil, status.Errorf(codes.InvalidArgument, "the card ending in %s expired on %d/%d", number[len(number)-4:], month, year)
	}
	id := newID()
	slog.Info("charged", "transaction", id, "amount", shown(r.GetAmount()))
	return &pb.ChargeResponse{TransactionId: id}, nil
}

// luhn checks the length and the check digit of a card number.
func luhn(number string) bool {
	if len(number) < 13 || len(number) > 19 {
		return false
	}
	sum := 0
	for i := range len(number) {
		digit := int(number[len(number)-1-i]) - '0'
		if digit < 0 || digit > 9 {
			return false
		}
		if i%2 == 1 {
			if digit *= 2; digit > 9 {
				digit -= 9
			}
		}
		sum += digit
	}
	return sum%10 == 0
}

// --- recommendations

const recommended = 5 // how many products to recommend

type recommendation struct {
	pb.UnimplementedRecommendationServiceServer
	catalog pb.ProductCatalogServiceClient
}

func openRecommendation(e env) (server, error) {
	conn, err := e.dial("PRODUCT_CATALOG_SERVICE_ADDR")
	if err != nil {
		return nil, err
	}
	r := recommendation{catalog: pb.NewProductCatalogServiceClient(conn)}
	return newGRPC(func(s *grpc.Server) { pb.RegisterRecommendationServiceServer(s, r) }, nil), nil
}

// ListRecommendations picks products at random that the user is not looking at.
func (s recommendation) ListRecommendations(ctx context.Context, r *pb.ListRecommendationsRequest) (*pb.ListRecommendationsResponse, error) {
	list, err := s.catalog.ListProducts(ctx, &pb.Empty{})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, id := range r.GetProductIds() {
		seen[id] = true
	}
	var ids []string
	for _, i := range mathrand.Perm(len(list.GetProducts())) {
		if id := list.Products[i].GetId(); !seen[id] && len(ids) < recommended {
			ids = append(ids, id)
		}
	}
	return &pb.ListRecommendationsResponse{ProductIds: ids}, nil
}

// --- shipping

type shipping struct {
	pb.UnimplementedShippingServiceServer
}

func openShipping(env) (server, error) {
	return newGRPC(func(s *grpc.Server) { pb.RegisterShippingServiceServer(s, shipping{}) }, nil), nil
}

// GetQuote asks a flat price for anything at all, and nothing for nothing.
func (shipping) GetQuote(_ context.Context, r *pb.GetQuoteRequest) (*pb.GetQuoteResponse, error) {
	cost := &pb.Money{CurrencyCode: "USD"}
	if len(r.GetItems()) > 0 {
		cost.Units, cost.Nanos = 8, 99*(nanosPerUnit/100)
	}
	return &pb.GetQuoteResponse{CostUsd: cost}, nil
}

func (shipping) ShipOrder(context.Context, *pb.ShipOrderRequest) (*pb.ShipOrderResponse, error) {
	text := rand.Text()
	return &pb.ShipOrderResponse{TrackingId: fmt.Sprintf("%s-%s-%s", text[:2], text[2:8], text[8:17])}, nil
}

// newID is a random UUID (version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
