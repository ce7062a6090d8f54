package main

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"boutique/pb"
)

// perEuro is how much of each currency one euro buys.
var perEuro = map[string]float64{
	"EUR": 1, "USD": 1.13, "JPY": 126.4, "GBP": 0.86, "TRY": 6.12, "CAD": 1.51,
	"CHF": 1.14, "SEK": 10.54, "AUD": 1.6, "INR": 79.4, "CNY": 7.58, "PLN": 4.3,
}

type currency struct {
	pb.UnimplementedCurrencyServiceServer
}

func openCurrency(env) (server, error) {
	return newGRPC(func(s *grpc.Server) { pb.RegisterCurrencyServiceServer(s, currency{}) }, nil), nil
}

func (currency) GetSupportedCurrencies(context.Context, *pb.Empty) (*pb.GetSupportedCurrenciesResponse, error) {
	codes := make([]string, 0, len(perEuro))
	for code := range perEuro {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return &pb.GetSupportedCurrenciesResponse{CurrencyCodes: codes}, nil
}

func (currency) Convert(_ context.Context, r *pb.CurrencyConversionRequest) (*pb.Money, error) {
	from, to := perEuro[r.GetFrom().GetCurrencyCode()], perEuro[r.GetToCode()]
	if from == 0 || to == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "cannot convert %q to %q", r.GetFrom().GetCurrencyCode(), r.GetToCode())
	}
	if from == to {
		return r.GetFrom(), nil
	}
	return converted(r.GetFrom(), to/from, r.GetToCode()), nil
}
