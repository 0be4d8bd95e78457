/// How a report looks: one column on a phone, two or three where there is room; light and dark as the reader's device is.
enum ReportStyle {
  /// Colours of the palette, which lines name by their place.
  static let colourCount = 11

  static let sheet = """
    :root {
      color-scheme: light dark;
      --paper: #f6f6f3; --card: #ffffff; --ink: #1c1d1f; --soft: #5d6066; --rule: #e2e2dc; --grid: #ecece7;
      --band: rgba(217, 72, 15, .13); --mark: #b42318; --accent: #1f5fbf; --heat: 31, 95, 191; --diff: #fff4d6;
      --c0: #1f5fbf; --c1: #d9480f; --c2: #2b8a3e; --c3: #8e3cb0; --c4: #b8860b; --c5: #0b7d92; --c6: #c2255c;
      --c7: #6b7280; --c8: #5f3dc4; --c9: #7a9a01; --c10: #9a6b4b;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --paper: #131416; --card: #1c1e21; --ink: #e9e9e6; --soft: #a0a4ab; --rule: #303338; --grid: #292c30;
        --band: rgba(255, 146, 84, .20); --mark: #ff8a80; --accent: #7fb0ff; --heat: 127, 176, 255; --diff: #3a3218;
        --c0: #7fb0ff; --c1: #ff9254; --c2: #6bd184; --c3: #d59bf0; --c4: #e6bf4f; --c5: #55c8dc; --c6: #ff8fb1;
        --c7: #a3aab5; --c8: #a795ff; --c9: #b9d44a; --c10: #d0a585;
      }
    }
    * { box-sizing: border-box; }
    html { -webkit-text-size-adjust: 100%; }
    body {
      margin: 0; background: var(--paper); color: var(--ink);
      font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
    }
    main, header, footer { max-width: 1280px; margin: 0 auto; padding: 0 20px; }
    header { padding-top: 28px; }
    h1 { font-size: 24px; line-height: 1.25; margin: 0; font-weight: 650; overflow-wrap: anywhere; }
    h2 { font-size: 17px; margin: 34px 0 12px; font-weight: 650; }
    h3 { font-size: 14px; margin: 0; font-weight: 600; }
    p { margin: 6px 0; }
    .soft, .note { color: var(--soft); }
    .note { font-size: 12.5px; margin: 4px 0 0; }
    .warn { border-left: 3px solid var(--mark); padding: 4px 12px; background: var(--card); }
    nav { margin: 10px 0 0; font-size: 13.5px; }
    nav a { color: var(--accent); text-decoration: none; margin-right: 14px; white-space: nowrap; }
    nav a:hover { text-decoration: underline; }
    .tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); margin: 20px 0 0; }
    .tile, figure, .card {
      background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px;
    }
    .tile .label { font-size: 12.5px; color: var(--soft); }
    .tile .value { font-size: 22px; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; }
    .tile .under { font-size: 12.5px; color: var(--soft); overflow-wrap: anywhere; }
    .charts { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); }
    figure { margin: 0; min-width: 0; position: relative; }
    figure.wide { grid-column: 1 / -1; }
    figcaption { display: flex; gap: 10px; align-items: baseline; justify-content: space-between; }
    svg { display: block; width: 100%; touch-action: pan-y; }
    svg text { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
    .legend { display: flex; flex-wrap: wrap; gap: 2px 4px; margin: 6px 0 0; }
    button {
      font: inherit; font-size: 12.5px; color: var(--ink); background: none; border: 1px solid transparent;
      border-radius: 6px; padding: 3px 7px; cursor: pointer; text-align: left; overflow-wrap: anywhere;
    }
    button:hover, button:focus-visible { border-color: var(--rule); }
    button[aria-pressed="false"] { color: var(--soft); text-decoration: line-through; }
    button.scale { color: var(--accent); padding: 0 6px; white-space: nowrap; text-decoration: none; }
    .key {
      display: inline-block; width: 14px; height: 3px; border-radius: 2px; vertical-align: middle; margin-right: 6px;
    }
    .stack .key { height: 11px; width: 11px; border-radius: 3px; }
    .tip {
      position: absolute; pointer-events: none; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
      padding: 6px 9px; font-size: 12.5px; line-height: 1.45; box-shadow: 0 4px 14px rgba(0, 0, 0, .16); z-index: 2;
      max-width: 88%; font-variant-numeric: tabular-nums;
    }
    .tip div { display: flex; justify-content: space-between; gap: 14px; }
    .tip span { overflow-wrap: anywhere; }
    .scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
    table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
    th, td { padding: 6px 12px; text-align: left; vertical-align: top; border-top: 1px solid var(--grid); }
    thead th { border-top: 0; color: var(--soft); font-weight: 500; white-space: nowrap; }
    tbody th { font-weight: 500; white-space: nowrap; }
    td { overflow-wrap: anywhere; }
    td.w { min-width: 9em; overflow-wrap: normal; }
    .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
    tr.diff td { background: var(--diff); }
    .confusion { width: auto; min-width: 50%; }
    .confusion td { text-align: center; font-variant-numeric: tabular-nums; border: 1px solid var(--card); min-width: 58px; }
    .confusion thead th { text-align: center; }
    .confusion thead th:first-child, .confusion tbody th { text-align: left; }
    .two { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
    .bar { display: flex; height: 22px; border-radius: 6px; overflow: hidden; margin: 8px 0; background: var(--grid); }
    .bar i { display: block; min-width: 1px; }
    details { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; margin: 0 0 8px; }
    summary { padding: 9px 14px; cursor: pointer; font-weight: 500; }
    details > div { padding: 0 14px 12px; }
    .sample { border-top: 1px solid var(--grid); padding: 8px 0; }
    .sample dt { color: var(--soft); font-size: 12.5px; }
    .sample dd { margin: 0 0 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
    dl { margin: 0; }
    code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12.5px; }
    pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
    footer { color: var(--soft); font-size: 12.5px; padding-top: 26px; padding-bottom: 34px; }
    @media (max-width: 560px) {
      main, header, footer { padding-left: 12px; padding-right: 12px; }
      .tiles { grid-template-columns: 1fr 1fr; }
      .tile .value { font-size: 19px; }
      th, td { padding: 6px 9px; }
      tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 6.5em; }
    }
    @media print { .charts { grid-template-columns: 1fr 1fr; } figure, .card { break-inside: avoid; } }
    """
}
