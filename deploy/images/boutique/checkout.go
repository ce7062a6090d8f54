package main

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"boutique/pb"
)

type checkout struct {
	pb.UnimplementedCheckoutServiceServer
	cart     pb.CartServiceClient
	catalog  pb.ProductCatalogServiceClient
	currency pb.CurrencyServiceClient
	email    pb.EmailServiceClient
	payment  pb.PaymentServiceClient
	shipping pb.ShippingServiceClient
}

func openCheckout(e env) (server, error) {
	conns, err := e.dialAll("CART_SERVICE_ADDR", "PRODUCT_CATALOG_SERVICE_ADDR", "CURRENCY_SERVICE_ADDR",
		"EMAIL_SERVICE_ADDR", "PAYMENT_SERVICE_ADDR", "SHIPPING_SERVICE_ADDR")
	if err != nil {
		return nil, err
	}
	c := &checkout{
		cart:     pb.NewCartServiceClient(conns[0]),
		catalog:  pb.NewProductCatalogServiceClient(conns[1]),
		currency: pb.NewCurrencyServiceClient(conns[2]),
		email:    pb.NewEmailServiceClient(conns[3]),
		payment:  pb.NewPaymentServiceClient(conns[4]),
		shipping: pb.NewShippingServiceClient(conns[5]),
	}
	return newGRPC(func(s *grpc.Server) { pb.RegisterCheckoutServiceServer(s, c) }, nil), nil
}

// dialAll dials several services; see dial.
func (e env) dialAll(keys ...string) ([]*grpc.ClientConn, error) {
	conns := make([]*grpc.ClientConn, len(keys))
	for i, key := range keys {
		conn, err := e.dial(key)
		if err != nil {
			return nil, err
		}
		conns[i] = conn
	}
	return conns, nil
}

// PlaceOrder prices the cart, charges the card and ships. What fails afterwards (emptying the cart, the email) does
// not undo an order: it is only logged.
func (c *checkout) PlaceOrder(ctx context.Context, r *pb.PlaceOrderRequest) (*pb.PlaceOrderResponse, error) {
	stored, err := c.cart.GetCart(ctx, &pb.GetCartRequest{UserId: r.GetUserId()})
	if err != nil {
		return nil, internal("cart failure", err)
	}
	order, err := c.price(ctx, stored.GetItems(), r)
	if err != nil {
		return nil, err
	}
	total := order.GetShippingCost()
	for _, line := range order.GetItems() {
		total = add(total, times(line.GetCost(), line.GetItem().GetQuantity()))
	}
	paid, err := c.payment.Charge(ctx, &pb.ChargeRequest{Amount: total, CreditCard: r.GetCreditCard()})
	if err != nil {
		return nil, internal("failed to charge card", err)
	}
	shipped, err := c.shipping.ShipOrder(ctx, &pb.ShipOrderRequest{Address: r.GetAddress(), Items: stored.GetItems()})
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "shipping error: %v", err)
	}
	order.OrderId, order.ShippingTrackingId = newID(), shipped.GetTrackingId()
	slog.Info("order placed", "order", order.OrderId, "transaction", paid.GetTransactionId(), "total", shown(total))

	if _, err := c.cart.EmptyCart(ctx, &pb.EmptyCartRequest{UserId: r.GetUserId()}); err != nil {
		slog.Warn("the cart was not emptied", "order", order.OrderId, "error", err)
	}
	note := &pb.SendOrderConfirmationRequest{Email: r.GetEmail(), Order: order}
	if _, err := minor(ctx, minorTimeout, c.email.SendOrderConfirmation, note); err != nil {
		slog.Warn("failed to send order confirmation", "order", order.OrderId, "error", err)
	}
	return &pb.PlaceOrderResponse{Order: order}, nil
}

// price looks every item up, converts it to the user's currency, and adds the cost of shipping.
func (c *checkout) price(ctx context.Context, items []*pb.CartItem, r *pb.PlaceOrderRequest) (*pb.OrderResult, error) {
	order := &pb.OrderResult{ShippingAddress: r.GetAddress()}
	for _, item := range items {
		product, err := c.catalog.GetProduct(ctx, &pb.GetProductRequest{Id: item.GetProductId()})
		if err != nil {
			return nil, internal("failed to get product "+item.GetProductId(), err)
		}
		cost, err := c.currency.Convert(ctx, &pb.CurrencyConversionRequest{From: product.GetPriceUsd(), ToCode: r.GetUserCurrency()})
		if err != nil {
			return nil, internal("failed to convert a price", err)
		}
		order.Items = append(order.Items, &pb.OrderItem{Item: item, Cost: cost})
	}
	quote, err := c.shipping.GetQuote(ctx, &pb.GetQuoteRequest{Address: r.GetAddress(), Items: items})
	if err != nil {
		return nil, internal("shipping quote failure", err)
	}
	order.ShippingCost, err = c.currency.Convert(ctx, &pb.CurrencyConversionRequest{From: quote.GetCostUsd(), ToCode: r.GetUserCurrency()})
	if err != nil {
		return nil, internal("failed to convert the shipping cost", err)
	}
	return order, nil
}

func internal(what string, err error) error {
	return status.Errorf(codes.Internal, "%s: %v", what, err)
}
