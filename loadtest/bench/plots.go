package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A figure is a picture in docs/: a panel for each of its rows that was measured.
type figure struct {
	name  string
	title string
	rows  []string // in the order of the panels; the document has it behind the last
	cols  int      // panels side by side
	panel func(row, measurement) (*plot.Plot, error)
}

var plots = []figure{
	{"deliveries", "Deliveries per CPU-second of the server, by load", []string{"closed", "rate50", "rate200"}, 3, bars(perCPU)},
	{"memory", "kB of memory per idle joined connection", []string{"idle"}, 1, bars(eachKB)},
	{"latency", "From publish to delivery: half of the deliveries and 99 of 100", []string{"rate50", "rate200", "cluster-small", "cluster-large"}, 2, latencies},
	{"scale", "CPU time per delivery of nodes, HAProxy and Redis together, by number of nodes", []string{"scale"}, 1, scaleLines},
}

// panelTitles are those of panels that stand beside others.
var panelTitles = map[string]string{
	"closed": "closed loop", "rate50": "1,000 members, 50 messages/s", "rate200": "1,000 members, 200 messages/s",
	"cluster-small": "500 rooms of 10, 2,000 messages/s", "cluster-large": "5 rooms of 1,000, 50 messages/s",
	"idle": "kB per idle joined connection", "scale": "CPU µs per delivery, by number of nodes",
}

const (
	panelWidth  = 3.8 * vg.Inch
	panelMargin = 12
	textSize    = 11
)

var (
	ink    = color.Gray{40}
	blue   = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb5, A: 0xff}
	orange = color.RGBA{R: 0xd9, G: 0x6b, B: 0x0b, A: 0xff}
	pale   = color.RGBA{R: 0xa9, G: 0xbf, B: 0xd3, A: 0xff}
	gray   = color.RGBA{R: 0xcc, G: 0xcc, B: 0xcc, A: 0xff}
)

// svg draws the figure, on white. It is nil when none of its rows was measured.
func (f figure) svg(measured results) ([]byte, error) {
	var panels []*plot.Plot
	tallest := vg.Length(0)
	for _, r := range allRows() {
		m, ok := measured[r.name]
		if !ok || !slices.Contains(f.rows, r.name) {
			continue
		}
		p, err := f.panel(r, m)
		if err != nil {
			return nil, err
		}
		p.Title.Text = panelTitles[r.name]
		dress(p)
		panels = append(panels, p)
		tallest = max(tallest, heightOf(r))
	}
	if len(panels) == 0 {
		return nil, nil
	}
	cols := min(f.cols, len(panels))
	tiles := draw.Tiles{Cols: cols, Rows: (len(panels) + cols - 1) / cols, PadX: panelMargin, PadY: panelMargin, PadTop: panelMargin, PadBottom: panelMargin, PadLeft: panelMargin, PadRight: 2 * panelMargin}
	width := vg.Length(cols) * panelWidth
	if cols == 1 {
		width = 1.6 * panelWidth
	}
	canvas := vgsvg.NewWith(vgsvg.UseWH(width, vg.Length(tiles.Rows)*tallest))
	all := draw.New(canvas)
	all.FillPolygon(color.White, []vg.Point{all.Min, {X: all.Min.X, Y: all.Max.Y}, all.Max, {X: all.Max.X, Y: all.Min.Y}})
	grid := make([][]*plot.Plot, tiles.Rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, cols)
		copy(grid[i], panels[i*cols:min((i+1)*cols, len(panels))])
	}
	for y, line := range plot.Align(grid, tiles, all) {
		for x, tile := range line {
			if grid[y][x] != nil {
				grid[y][x].Draw(tile)
			}
		}
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	// Arial and Helvetica are as wide as Liberation Sans, by which it was laid out.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

// heightOf is what a panel needs.
func heightOf(r row) vg.Length {
	if r.name == "scale" {
		return 3.2 * vg.Inch
	}
	return vg.Length(0.28*float64(len(r.lines))+0.9) * vg.Inch
}

// dress gives all texts of a panel one font.
func dress(p *plot.Plot) {
	sans := font.Font{Typeface: "Liberation", Variant: "Sans", Size: textSize}
	for _, f := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		*f = sans
	}
	for _, c := range []*color.Color{&p.Title.TextStyle.Color, &p.X.Tick.Label.Color, &p.Y.Tick.Label.Color, &p.Legend.TextStyle.Color} {
		*c = ink
	}
	p.Title.TextStyle.Font.Weight = 2 // bold
	p.Title.Padding = 6
}

// measuredLines are the names of the lines that have values, the last first, since
// axes count upwards.
func measuredLines(r row, m measurement, key string) (names []string) {
	for _, l := range slices.Backward(r.lines) {
		if len(m.of(l.name, key)) > 0 {
			names = append(names, l.name)
		}
	}
	return names
}

func colorOf(line string) color.Color {
	switch {
	case strings.HasPrefix(line, ours):
		return blue
	case line == titles["floor"]:
		return gray
	}
	return pale
}

// bars is a panel with a bar for each line: the median, and a mark from the least to
// the most.
func bars(c metric) func(row, measurement) (*plot.Plot, error) {
	return func(r row, m measurement) (*plot.Plot, error) {
		p := plot.New()
		names := measuredLines(r, m, c.key)
		texts := plotter.XYLabels{}
		marks := &intervals{}
		most := 0.0
		for i, name := range names {
			s, _ := spreadOf(m.of(name, c.key))
			bar, err := plotter.NewBarChart(plotter.Values{s.median}, 14)
			if err != nil {
				return nil, err
			}
			bar.XMin, bar.Horizontal, bar.Color, bar.LineStyle.Width = float64(i), true, colorOf(name), 0
			p.Add(bar)
			at := plotter.XY{X: s.median, Y: float64(i)}
			marks.XYs = append(marks.XYs, at)
			marks.XErrors = append(marks.XErrors, struct{ Low, High float64 }{s.median - s.least, s.most - s.median})
			texts.XYs = append(texts.XYs, plotter.XY{X: s.most, Y: float64(i)})
			texts.Labels = append(texts.Labels, c.write(s.median))
			most = max(most, s.most)
		}
		spreads, err := plotter.NewXErrorBars(marks)
		if err != nil {
			return nil, err
		}
		spreads.LineStyle.Color, spreads.CapWidth = ink, 5
		p.Add(spreads)
		if err := addTexts(p, texts); err != nil {
			return nil, err
		}
		p.NominalY(names...)
		p.X.Min, p.X.Max = 0, 1.3*most // the texts want room
		p.HideX()
		return p, nil
	}
}

// intervals are points with what lies to the left and the right of them.
type intervals struct {
	plotter.XYs
	plotter.XErrors
}

// addTexts writes beside points.
func addTexts(p *plot.Plot, texts plotter.XYLabels) error {
	labels, err := plotter.NewLabels(texts)
	if err != nil {
		return err
	}
	labels.Offset = vg.Point{X: 6}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: textSize - 1}
		labels.TextStyle[i].Color, labels.TextStyle[i].YAlign = ink, draw.YCenter
	}
	p.Add(labels)
	return nil
}

// latencies is a panel with two points for each line, on a scale on which each step
// is ten times the one before.
func latencies(r row, m measurement) (*plot.Plot, error) {
	p := plot.New()
	names := measuredLines(r, m, p99.key)
	texts := plotter.XYLabels{}
	least, most := math.Inf(1), 0.0
	for i, name := range names {
		half, _ := spreadOf(m.of(name, p50.key))
		nearly, _ := spreadOf(m.of(name, p99.key))
		ends := plotter.XYs{{X: half.median, Y: float64(i)}, {X: nearly.median, Y: float64(i)}}
		line, points, err := plotter.NewLinePoints(ends)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = colorOf(name), 3
		points.Color, points.Radius, points.Shape = colorOf(name), 4, draw.CircleGlyph{}
		p.Add(line, points)
		texts.XYs = append(texts.XYs, ends[1])
		texts.Labels = append(texts.Labels, small(half.median)+" – "+small(nearly.median)+" ms")
		least, most = min(least, half.least), max(most, nearly.most)
	}
	if err := addTexts(p, texts); err != nil {
		return nil, err
	}
	p.NominalY(names...)
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max = math.Pow(10, math.Floor(math.Log10(least))), 20*most // the texts want room
	p.X.Tick.Marker = plot.TickerFunc(func(low, _ float64) (ticks []plot.Tick) {
		for v := low; v < 10*most; v *= 10 {
			label := fmt.Sprint(v)
			switch {
			case v >= 1000:
				label = fmt.Sprint(v/1000, " s")
			case v == low:
				label += " ms"
			}
			ticks = append(ticks, plot.Tick{Value: v, Label: label})
		}
		return ticks
	})
	return p, nil
}

// scaleLines is a panel with a line for each way to place rooms, over the number of
// nodes.
func scaleLines(_ row, m measurement) (*plot.Plot, error) {
	p := plot.New()
	p.Add(plotter.NewGrid())
	for _, of := range []struct {
		balance string
		color   color.Color
	}{{"roundrobin", orange}, {"hash", blue}} {
		marks := &heights{}
		for i, nodes := range scaleNodes {
			s, ok := spreadOf(m.of(scaleName(of.balance, nodes), all.key))
			if ok {
				marks.XYs = append(marks.XYs, plotter.XY{X: float64(i), Y: s.median})
				marks.YErrors = append(marks.YErrors, struct{ Low, High float64 }{s.median - s.least, s.most - s.median})
			}
		}
		line, points, err := plotter.NewLinePoints(marks)
		if err != nil {
			return nil, err
		}
		spreads, err := plotter.NewYErrorBars(marks)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = of.color, 2
		points.Color, points.Radius, points.Shape = of.color, 4, draw.CircleGlyph{}
		spreads.LineStyle.Color = of.color
		p.Add(line, points, spreads)
		p.Legend.Add("balance "+of.balance, line, points)
	}
	var names []string
	for _, nodes := range scaleNodes {
		names = append(names, fmt.Sprint(nodes))
	}
	p.NominalX(names...)
	p.Y.Min, p.Y.Max = 0, 1.3*p.Y.Max // the legend wants room
	p.X.Label.Text = "nodes"
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, 3
	return p, nil
}

// heights are points with what lies below and above them.
type heights struct {
	plotter.XYs
	plotter.YErrors
}
