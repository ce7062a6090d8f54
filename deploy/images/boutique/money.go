package main

import (
	"fmt"
	"math"

	"boutique/pb"
)

const nanosPerUnit = 1_000_000_000

// add sums two amounts of one currency.
func add(a, b *pb.Money) *pb.Money {
	return normal(a.GetCurrencyCode(), a.GetUnits()+b.GetUnits(), int64(a.GetNanos())+int64(b.GetNanos()))
}

// times multiplies an amount.
func times(a *pb.Money, n int32) *pb.Money {
	return normal(a.GetCurrencyCode(), a.GetUnits()*int64(n), int64(a.GetNanos())*int64(n))
}

// converted multiplies an amount by an exchange rate.
func converted(a *pb.Money, rate float64, code string) *pb.Money {
	total := (float64(a.GetUnits()) + float64(a.GetNanos())/nanosPerUnit) * rate
	units := math.Trunc(total)
	return normal(code, int64(units), int64(math.Round((total-units)*nanosPerUnit)))
}

func normal(code string, units, nanos int64) *pb.Money {
	return &pb.Money{CurrencyCode: code, Units: units + nanos/nanosPerUnit, Nanos: int32(nanos % nanosPerUnit)}
}

var symbols = map[string]string{"USD": "$", "CAD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "TRY": "₺"}

// shown is an amount as a user reads it.
func shown(m *pb.Money) string {
	symbol, known := symbols[m.GetCurrencyCode()]
	if !known {
		symbol = m.GetCurrencyCode() + " "
	}
	return fmt.Sprintf("%s%d.%02d", symbol, m.GetUnits(), m.GetNanos()/(nanosPerUnit/100))
}
