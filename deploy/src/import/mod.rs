//! `bowline import`.

mod appmesh;
pub(crate) mod args;
mod connect;
mod draft;
mod input;
mod listing;
mod made;
mod names;
mod not_yet;
mod template;
mod timeouts;
mod value;
mod write;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};

use bowline_look::style::Style;

use self::args::{Common, ImportArgs, Origin, OutputFormat};
use self::listing::{Listing, Place};
use self::made::Made;
use crate::{DIFFERENT, DONE, FAILED, WRONG};

/// Imports, writes the mesh file, and gives the exit code.
pub(crate) fn run(
    args: &ImportArgs,
    out: &mut (impl Write + IsTerminal),
    err: &mut (impl Write + IsTerminal),
) -> io::Result<u8> {
    let mut listing = Listing::default();
    let (common, origin) = match &args.origin {
        Origin::ServiceConnect(args) => (&args.common, "service-connect"),
        Origin::AppMesh(args) => (&args.common, "app-mesh"),
    };
    let parameters: BTreeMap<String, String> =
        common.parameter.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect();
    let inputs = input::read(&common.files, &parameters, &mut listing);
    listing.files(inputs.iter().map(|input| input.file.clone()));
    let made = if listing.is_refused() {
        None
    } else {
        match &args.origin {
            Origin::ServiceConnect(args) => connect::import(&inputs, args, &mut listing),
            Origin::AppMesh(args) => appmesh::import(&inputs, args, &mut listing),
        }
    };
    let style = Style::of(err);
    let Some(mut made) = made.filter(|_| !listing.is_refused()) else {
        listing.write(0, style, err)?;
        return Ok(WRONG);
    };
    let whole = inputs.first().map_or_else(|| Place::file(&"".into()), |input| Place::file(&input.file));
    let kept = match common.output_format {
        OutputFormat::Yaml => "it is in the mesh file as a comment",
        OutputFormat::Json => "it is left out, as JSON has no comments",
    };
    not_yet::turn_off(&mut made.mesh, &whole, kept, &mut listing);
    let text = text(&made, common, origin);
    // What is printed is what `bowline check` accepts, or nothing is.
    if let Err(problems) = bowline_api::parse("the mesh file that was made", &text) {
        for problem in &problems {
            let place = Place {
                line: problem.line,
                key: problem.path.clone(),
                ..Place::file(&problem.file.as_str().into())
            };
            listing.refuse(place, problem.message.as_str());
        }
    }
    listing.write(made.services, style, err)?;
    if listing.is_refused() {
        return Ok(WRONG);
    }
    match &common.output {
        None => {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Some(path) => {
            if let Err(error) = fs::write(path, &text) {
                writeln!(err, "bowline: can't write {}: {error}", path.display())?;
                return Ok(FAILED);
            }
        }
    }
    Ok(if common.strict && listing.listed() > 0 { DIFFERENT } else { DONE })
}

fn text(made: &Made, common: &Common, origin: &str) -> String {
    if common.output_format == OutputFormat::Json {
        let mut text = format!("{:#}", made.mesh.to_json());
        text.push('\n');
        return text;
    }
    let files: Vec<String> = common.files.iter().map(|file| file.display().to_string()).collect();
    let mut head = vec![
        format!("Made by bowline import {origin} from {}.", files.join(", ")),
        "From here on it is yours: change it, and check it with bowline check.".to_owned(),
        String::new(),
    ];
    head.extend(made.head.iter().cloned());
    write::yaml(&head, &made.mesh)
}
